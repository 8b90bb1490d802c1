import type { EngineError } from "../errors";
import { type Budget, MAX_GROUPS, MAX_REPEAT, refused } from "./budget";
import { allCodePoints, type CodePoints, codePoints, complement, MAX_CODE_POINT, type Range } from "./code-points";
import { call, character, choice, type Expression, literal, Rule, repeat, sequence } from "./expression";

/** A rule of a grammar: `line` and `column` count from 1. */
export interface GrammarRule {
  readonly rule: Rule;
  readonly body: Expression;
  readonly place: Place;
}

export interface Place {
  readonly line: number;
  readonly column: number;
}

export function badGrammar({ line, column }: Place, message: string): EngineError {
  return refused("grammar", `grammar, line ${line}, column ${column}: ${message}`);
}

/** What it takes to read a part of a grammar, and to write a character of a set as bytes. */
const PART_WORK = 5;
const RANGE_WORK = 100;

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
/** Digits of a code point after these letters. */
const hexLengths: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/**
 * Reads a grammar in llama.cpp's notation (GBNF). A rule goes on until the next one begins, over lines too.
 *
 * @throws EngineError ERR_REQUEST, with line and column, for what is no such grammar.
 */
export class GrammarReader {
  private at = 0;
  private readonly rules = new Map<string, GrammarRule>();
  private readonly called = new Map<string, { readonly rule: Rule; readonly place: Place }>();
  private readonly encoded = new Map<string, Expression>();

  constructor(
    private readonly text: string,
    private readonly budget: Budget,
  ) {}

  read(): ReadonlyMap<string, GrammarRule> {
    for (this.skip(); this.at < this.text.length; this.skip()) this.rule();
    for (const [name, { place }] of this.called) {
      if (!this.rules.has(name)) throw badGrammar(place, `no rule is named ${JSON.stringify(name)}`);
    }
    if (!this.rules.has("root")) throw badGrammar(this.placeOf(this.at), 'a grammar needs a rule that is named "root"');
    return this.rules;
  }

  private rule(): void {
    const from = this.at;
    const name = this.match(/[A-Za-z0-9_-]+/y);
    this.skip();
    if (name === undefined || !this.take("::=")) throw this.error('expected a rule, as in: name ::= "text"', from);
    if (this.rules.has(name)) throw this.error(`the rule ${name} is there twice`, from);
    const { rule, place } = { rule: this.ruleOf(name, from), place: this.placeOf(from) };
    this.rules.set(name, { rule, body: this.alternatives(0), place });
    if (this.next === ")") throw this.error('a ")" too many');
    if (this.at < this.text.length && !this.atRule) throw this.error(`did not expect ${JSON.stringify(this.next)}`);
  }

  private alternatives(depth: number): Expression {
    if (depth > MAX_GROUPS) throw this.error(`groups are nested deeper than ${MAX_GROUPS}`);
    const options = [this.sequence(depth)];
    while (this.take("|")) options.push(this.sequence(depth));
    return choice(options);
  }

  private sequence(depth: number): Expression {
    const parts: Expression[] = [];
    for (this.skip(); this.next !== "" && !"|)".includes(this.next) && !this.atRule; this.skip()) {
      this.budget.spend(PART_WORK);
      parts.push(this.repeated(this.part(depth)));
    }
    return sequence(...parts);
  }

  private part(depth: number): Expression {
    const from = this.at;
    if (this.take('"')) return this.quoted(from);
    if (this.take("[")) return this.set(from);
    if (this.take(".")) return this.characters(allCodePoints);
    if (this.take("(")) {
      const body = this.alternatives(depth + 1);
      if (!this.take(")")) throw this.error('this "(" has no ")"', from);
      return body;
    }
    const name = this.match(/[A-Za-z0-9_-]+/y);
    if (name !== undefined) return call(this.ruleOf(name, from));
    throw this.error(`did not expect ${JSON.stringify(this.next)}`);
  }

  private ruleOf(name: string, from: number): Rule {
    let known = this.called.get(name);
    if (known === undefined) {
      known = { rule: new Rule(name), place: this.placeOf(from) };
      this.called.set(name, known);
    }
    return known.rule;
  }

  private quoted(from: number): Expression {
    const points: number[] = [];
    while (!this.take('"')) {
      if (this.next === "" || this.next === "\n") throw this.error("this text has no closing quote", from);
      points.push(this.point());
    }
    return literal(String.fromCodePoint(...points));
  }

  private set(from: number): Expression {
    const isNegated = this.take("^");
    const ranges: Range[] = [];
    while (!this.take("]")) {
      if (this.next === "") throw this.error('this "[" has no "]"', from);
      const low = this.point();
      const isRange = this.next === "-" && this.text[this.at + 1] !== "]";
      if (isRange) this.at += 1;
      const start = this.at;
      const high = isRange ? this.point() : low;
      if (high < low) throw this.error("a range ends before it begins", start);
      ranges.push([low, high]);
    }
    const set = codePoints(ranges);
    return this.characters(isNegated ? complement(set) : set);
  }

  /** One character, or an escape that stands for one. */
  private point(): number {
    const from = this.at;
    const point = this.text.codePointAt(this.at)!;
    this.at += point > 0xffff ? 2 : 1;
    if (point !== 0x5c) return this.wellFormed(point, from);
    const letter = this.next;
    this.at += 1;
    if (Object.hasOwn(escapes, letter)) return escapes[letter]!.charCodeAt(0);
    if ('\\"[]^-'.includes(letter) && letter !== "") return letter.charCodeAt(0);
    const length = Object.hasOwn(hexLengths, letter) ? hexLengths[letter]! : 0;
    const digits = this.text.slice(this.at, this.at + length);
    if (length === 0 || !new RegExp(`^[0-9A-Fa-f]{${length}}$`).test(digits)) {
      throw this.error(
        'this escape is not known; there are \\n \\r \\t \\\\ \\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH',
        from,
      );
    }
    this.at += length;
    return this.wellFormed(Number.parseInt(digits, 16), from);
  }

  private wellFormed(point: number, from: number): number {
    const isSurrogate = point >= 0xd800 && point <= 0xdfff;
    if (isSurrogate || point > MAX_CODE_POINT) throw this.error("this is no character of Unicode", from);
    return point;
  }

  private characters(set: CodePoints): Expression {
    const key = set.join();
    let expression = this.encoded.get(key);
    if (expression === undefined) {
      this.budget.spend(RANGE_WORK * (set.length + 1));
      expression = character(set);
      this.encoded.set(key, expression);
    }
    return expression;
  }

  private repeated(body: Expression): Expression {
    let repeating = body;
    // As in llama.cpp, one after the other.
    for (let from = this.at; ; from = this.at) {
      if (this.take("*")) repeating = repeat(repeating, 0, Infinity);
      else if (this.take("+")) repeating = repeat(repeating, 1, Infinity);
      else if (this.take("?")) repeating = repeat(repeating, 0, 1);
      else if (this.take("{")) repeating = repeat(repeating, ...this.bounds(from));
      else return repeating;
    }
  }

  private bounds(from: number): [number, number] {
    const text = this.match(/[0-9, \t]*\}/y)?.replace(/[ \t]/g, "") ?? "";
    const match = /^(\d*)(,(\d*))?\}$/.exec(text);
    if (match === null || text === "}" || text === ",}") throw this.error("expected {n}, {n,}, {,m} or {n,m}", from);
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] === "" ? Infinity : Number(match[3]);
    if (max < min) throw this.error(`the second number of {${text} is the smaller one`, from);
    if (min > MAX_REPEAT || (max > MAX_REPEAT && max !== Infinity)) {
      throw this.error(`at most ${MAX_REPEAT} repetitions can be counted`, from);
    }
    return [min, max];
  }

  /** White space, ends of lines and comments. */
  private skip(): void {
    this.match(/(?:\s|#[^\n]*)+/y);
  }

  private get atRule(): boolean {
    const rule = /[A-Za-z0-9_-]+(?:[ \t]|\r?\n)*::=/y;
    rule.lastIndex = this.at;
    return rule.test(this.text);
  }

  private get next(): string {
    return this.text[this.at] ?? "";
  }

  private take(what: string): boolean {
    if (!this.text.startsWith(what, this.at)) return false;
    this.at += what.length;
    return true;
  }

  private match(sticky: RegExp): string | undefined {
    sticky.lastIndex = this.at;
    const found = sticky.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found;
  }

  private placeOf(at: number): Place {
    const before = this.text.slice(0, at).split("\n");
    return { line: before.length, column: before.at(-1)!.length + 1 };
  }

  private error(message: string, at = this.at): EngineError {
    return badGrammar(this.placeOf(at), message);
  }
}
