import type { AST } from "@eslint-community/regexpp";
import { type Budget, MAX_REPEAT } from "./budget";
import { classOf } from "./character-classes";
import { allCodePoints, type CodePoints } from "./code-points";
import { automaton, choice, type Expression, empty, isNullable, nothing, repeat, sequence } from "./expression";
import { badPattern, parsePattern } from "./pattern-syntax";
import { product, shortest } from "./product";
import { automatonOf } from "./subsets";

/** How a character of a set is written in the text. */
export type Encode = (set: CodePoints) => Expression;

/** What it takes to write a range of characters as bytes, and to find the characters of a property. */
const RANGE_WORK = 100;
const PROPERTY_WORK = 100_000;
/** What it takes to follow an assertion on another way through the pattern. */
const WAY_WORK = 100;
/** How often a part with an assertion inside may be repeated: each time is written out. */
const MAX_LOOKING_REPEAT = 16;

/** Lengths in characters. */
export interface Lengths {
  readonly min: number;
  readonly max: number;
}

export interface Pattern {
  readonly expression: Expression;
  /** Asked for by an assertion at the start, as `^(?=.{1,253}$)`: not part of the expression, because a count is cheaper. */
  readonly lengths: Lengths | null;
}

/**
 * Reads a regular expression. A text must match as a whole; with `anywhere`, a part of it must.
 *
 * @throws EngineError ERR_REQUEST for what is no pattern or not regular: back references, `\b`, assertions that look back
 * or stand within an endless repetition.
 */
export function patternOf(source: string, encode: Encode, budget: Budget, anywhere = false): Pattern {
  const tree = parsePattern(source, budget);
  const lengths = anywhere ? takeLengths(tree, budget) : null;
  return { expression: new PatternReader(encode, budget).whole(tree, anywhere), lengths };
}

/** Takes the length out of an assertion at the start of the only alternative. */
function takeLengths({ alternatives }: AST.Pattern, budget: Budget): Lengths | null {
  const [start, assertion] = alternatives[0]!.elements;
  if (alternatives.length > 1 || !isStart(start) || assertion?.type !== "Assertion") return null;
  // A dot that may follow counts with the others.
  const match = assertion.kind === "lookahead" ? /^\(\?=\.\{(\d+),(\d+)\}(?:\\\.\?)?\$\)$/.exec(assertion.raw) : null;
  if (match === null) return null;
  alternatives[0]!.elements.splice(1, 1, ...parsePattern("(?=.*$)", budget).alternatives[0]!.elements);
  return { min: Number(match[1]), max: Number(match[2]) };
}

const isStart = (element: AST.Element | undefined) => element?.type === "Assertion" && element.kind === "start";

const mentionsStart = (raw: string) => raw.replace(/\\.|\[(?:\\.|[^\]\\])*\]/gs, "").includes("^");

class PatternReader {
  /** The named classes are often used more than once. */
  private readonly encoded = new Map<CodePoints, Expression>();
  private readonly looking = new Map<AST.Element, boolean>();

  constructor(
    private readonly encode: Encode,
    private readonly budget: Budget,
  ) {}

  whole({ alternatives }: AST.Pattern, anywhere: boolean): Expression {
    if (!anywhere) return choice(alternatives.map(({ elements }) => this.suffix(elements, empty, true)));
    const isOpen = (elements: readonly AST.Element[]) =>
      !elements.slice(isStart(elements[0]) ? 1 : 0).some((element) => this.looks(element));
    const open = alternatives.filter(({ elements }) => isOpen(elements));
    const others = alternatives.filter(({ elements }) => !isOpen(elements));
    return choice([...(open.length > 0 ? [this.first(open)] : []), ...others.map((one) => this.found(one))]);
  }

  /** Texts that hold one of these, which have no assertions but "^" at the start: after the first one, anything may follow. */
  private first(alternatives: readonly AST.Alternative[]): Expression {
    const body = (elements: readonly AST.Element[]) => sequence(...elements.map((element) => this.plain(element)));
    const [anchored, free] = [true, false].map((atStart) =>
      alternatives.filter(({ elements }) => isStart(elements[0]) === atStart),
    );
    const ends = [
      ...anchored!.map(({ elements }) => body(elements.slice(1))),
      ...(free!.length > 0 ? [sequence(this.anything, choice(free!.map(({ elements }) => body(elements))))] : []),
    ];
    return sequence(automaton(shortest(automatonOf(choice(ends), this.budget))), this.anything);
  }

  /** Texts in which an alternative with assertions is found. */
  private found({ elements, raw }: AST.Alternative): Expression {
    const match = (atStart: boolean) => this.suffix(elements, this.anything, atStart);
    if (isStart(elements[0])) return match(true);
    if (!mentionsStart(raw)) return sequence(this.anything, match(true));
    return choice([match(true), sequence(this.character(allCodePoints), this.anything, match(false))]);
  }

  private get anything(): Expression {
    return repeat(this.character(allCodePoints), 0, Infinity);
  }

  /**
   * What `elements` and `after`, which reaches to the end of the text, match together. An assertion is about all of
   * that: what it asks for is intersected with it. `atStart`: nothing stands before.
   */
  private suffix(elements: readonly AST.Element[], after: Expression, atStart: boolean): Expression {
    const at = elements.findIndex((element) => this.looks(element));
    if (at < 0) return sequence(...elements.map((element) => this.plain(element)), after);
    this.budget.spend(WAY_WORK);
    if (at > 0) {
      const head = sequence(...elements.slice(0, at).map((element) => this.plain(element)));
      const isTold = !elements.slice(at).some(({ raw }) => mentionsStart(raw));
      if (atStart && isNullable(head) && !isTold) {
        throw badPattern(this.budget, `has "^" after ${elements[at]!.start}, where it may or may not be the start`);
      }
      return sequence(head, this.suffix(elements.slice(at), after, false));
    }
    const [element, ...rest] = elements as [AST.Element, ...AST.Element[]];
    switch (element.type) {
      case "Assertion":
        return this.assertion(element, rest, after, atStart);
      case "Group":
      case "CapturingGroup":
        return choice(
          element.alternatives.map((alternative) => this.suffix([...alternative.elements, ...rest], after, atStart)),
        );
      case "Quantifier":
        return this.unrolled(element, rest, after, atStart);
      default:
        throw badPattern(this.budget, `has ${element.raw} at ${element.start}, which is not supported`);
    }
  }

  private assertion(
    element: AST.Assertion,
    rest: readonly AST.Element[],
    after: Expression,
    atStart: boolean,
  ): Expression {
    switch (element.kind) {
      case "start":
        return atStart ? this.suffix(rest, after, true) : nothing;
      case "end":
        return isNullable(this.suffix(rest, after, atStart)) ? empty : nothing;
      case "lookahead": {
        const what = choice(element.alternatives.map(({ elements }) => this.suffix(elements, this.anything, atStart)));
        const [own, asked] = [this.suffix(rest, after, atStart), what].map((part) =>
          part.kind === "automaton" ? part.automaton : automatonOf(part, this.budget),
        );
        return automaton(product(own!, asked!, this.budget, element.negate).automaton);
      }
      default:
        throw badPattern(this.budget, `has ${element.raw} at ${element.start}, which is not supported`);
    }
  }

  /** A repetition of something with an assertion inside, one after the other. */
  private unrolled(
    { element, min, max, start, raw }: AST.Quantifier,
    rest: readonly AST.Element[],
    after: Expression,
    atStart: boolean,
  ): Expression {
    if (max > MAX_LOOKING_REPEAT) {
      throw badPattern(this.budget, `has an assertion at ${start} within ${raw}, which repeats it too often`);
    }
    const ways = Array.from({ length: max - min + 1 }, (_, more) => min + more);
    return choice(
      ways.map((count) =>
        this.suffix([...new Array<AST.Element>(count).fill(element as AST.Element), ...rest], after, atStart),
      ),
    );
  }

  /** Whether there is an assertion in it. */
  private looks(element: AST.Element): boolean {
    let known = this.looking.get(element);
    if (known === undefined) {
      known = this.findLooks(element);
      this.looking.set(element, known);
    }
    return known;
  }

  private findLooks(element: AST.Element): boolean {
    if (element.type === "Assertion") return true;
    if (element.type === "Quantifier") return this.looks(element.element as AST.Element);
    if (element.type !== "Group" && element.type !== "CapturingGroup") return false;
    return element.alternatives.some(({ elements }) => elements.some((inner) => this.looks(inner)));
  }

  private plain(element: AST.Element): Expression {
    this.budget.spend(1);
    switch (element.type) {
      case "Group":
      case "CapturingGroup":
        if (element.type === "Group" && element.modifiers !== null) break;
        return choice(
          element.alternatives.map(({ elements }) => sequence(...elements.map((inner) => this.plain(inner)))),
        );
      case "Quantifier": {
        const { min, max, raw, start } = element;
        if (min > MAX_REPEAT || (max > MAX_REPEAT && max !== Infinity)) {
          throw badPattern(this.budget, `has ${raw} at ${start}; at most ${MAX_REPEAT} repetitions can be counted`);
        }
        return repeat(this.plain(element.element as AST.Element), min, max);
      }
      case "Character":
        this.checkCharacter(element);
        return this.class(element);
      case "CharacterClass":
        for (const inner of element.elements) {
          if (inner.type === "CharacterClassRange") for (const end of [inner.min, inner.max]) this.checkCharacter(end);
          else if (inner.type === "Character") this.checkCharacter(inner);
        }
        return this.class(element);
      case "CharacterSet":
        return this.class(element);
    }
    throw badPattern(this.budget, `has ${element.raw} at ${element.start}, which is not supported`);
  }

  /** Half of a pair, and a letter that another language's escape would make something else. */
  private checkCharacter({ value, raw, start }: AST.Character): void {
    if (value >= 0xd800 && value <= 0xdfff) throw badPattern(this.budget, `has half of a surrogate pair at ${start}`);
    if (/^\\[A-Za-z]$/.test(raw) && raw.charCodeAt(1) === value) {
      throw badPattern(this.budget, `has ${raw} at ${start}, which is not supported`);
    }
  }

  private class(node: AST.Character | AST.CharacterClass | AST.CharacterSet): Expression {
    const properties = node.raw.match(/\\p\{/gi)?.length ?? 0;
    this.budget.spend(PROPERTY_WORK * properties);
    const set = classOf(node);
    if (set === null) throw badPattern(this.budget, `has ${node.raw} at ${node.start}, which is not supported`);
    return this.character(set);
  }

  private character(set: CodePoints): Expression {
    let expression = this.encoded.get(set);
    if (expression === undefined) {
      this.budget.spend(RANGE_WORK * (set.length + 1));
      expression = this.encode(set);
      this.encoded.set(set, expression);
    }
    return expression;
  }
}
