import type { Automaton } from "./automaton";
import { Budget, defaultLimits } from "./budget";
import { allCodePoints } from "./code-points";
import { CountedString } from "./counted-string";
import { call, type Expression, literal, Rule, repeat } from "./expression";
import { JsonRules, jsonCharacter, quoted } from "./json-text";
import { findNeeds } from "./needs";
import { type Lengths, patternOf } from "./pattern";
import { acceptsNothing, product } from "./product";
import { stringFormats } from "./string-formats";
import { automatonOf } from "./subsets";
import type { TokenTrie } from "./token-trie";

/** A pattern that matches anywhere, the name of a known format, or a text; or that it is not so. */
export interface StringPart {
  readonly kind: "pattern" | "format" | "text";
  readonly text: string;
  readonly negated: boolean;
}

/** A part as an automaton over the string in quotes, and how long the string has to be besides. */
interface CompiledPart {
  readonly automaton: Automaton;
  readonly lengths: Lengths;
}

export const anyLength: Lengths = { min: 0, max: Infinity };
const anyCharacter = jsonCharacter(allCodePoints);
const QUOTE = 0x22;

/** Any string, for all models. */
let anyString: Automaton | undefined;

/** Up to so many characters, the length of a string that has one text only is part of its automaton. */
const MAX_WRITTEN_LENGTH = 256;

/** The strings of a schema, as JSON.stringify writes them where there is more to say than a length. Each is compiled once. */
export class StringRules {
  private readonly byKey = new Map<string, Rule>();
  private readonly byPart = new Map<string, CompiledPart>();
  /** By state of a rule's automaton: 1 between two characters. */
  private readonly betweenOf = new Map<Rule, Int32Array>();
  private readonly json: JsonRules;

  constructor(
    private readonly trie: TokenTrie,
    private readonly budget: Budget,
  ) {
    this.json = JsonRules.of(trie);
  }

  /** Strings that have all parts and such a length; null if there are none. `isOneWay`: each in one way to write it. */
  strings(parts: readonly StringPart[], { min, max }: Lengths, isOneWay: boolean): Expression | null {
    if (max < min) return null;
    if (parts.length === 0 && !isOneWay) {
      return call(min > 0 || max < Infinity ? this.counted(this.json.string, { min, max }) : this.json.string);
    }
    const key = `${isOneWay ? "=" : ""}${JSON.stringify(parts)} from ${min} to ${max}`;
    const known = this.byKey.get(key);
    const rule = known ?? this.compiled(parts, { min, max }, isOneWay);
    if (rule === null) return null;
    this.byKey.set(key, rule);
    return call(rule);
  }

  private compiled(parts: readonly StringPart[], lengths: Lengths, isOneWay: boolean): Rule | null {
    const all = this.intersection(parts, lengths);
    let [whole, { min, max }] = [all.automaton, all.lengths];
    if (isOneWay && max <= MAX_WRITTEN_LENGTH) {
      whole = this.ofLength(whole, { min, max });
      [min, max] = [0, Infinity];
    }
    // With a pattern, the least length becomes part of the automaton; the greatest is counted.
    if (parts.length > 0 && min > 0) {
      whole = this.ofLength(whole, { min, max: Infinity });
      min = 0;
    }
    if (acceptsNothing(whole) || max < min) return null;
    const isCounted = min > 0 || max < Infinity;
    const rule = this.ruleOf(whole, JSON.stringify(parts), isCounted);
    if (!isCounted) return rule;
    const counted = this.counted(rule, { min, max });
    return counted.machine!.need(counted.machine!.start) === Infinity ? null : counted;
  }

  private intersection(parts: readonly StringPart[], lengths: Lengths): CompiledPart {
    let [whole, { min, max }]: [Automaton | null, Lengths] = [null, lengths];
    for (const part of [...parts].sort((a, b) => Number(a.negated) - Number(b.negated))) {
      const own = this.part(part);
      if (part.negated) {
        whole = product(whole ?? this.any, this.ofLength(own.automaton, own.lengths), this.budget, true).automaton;
      } else {
        whole = whole === null ? own.automaton : product(whole, own.automaton, this.budget).automaton;
        [min, max] = [Math.max(min, own.lengths.min), Math.min(max, own.lengths.max)];
      }
    }
    return { automaton: whole ?? this.any, lengths: { min, max } };
  }

  /** Whether a string has a part. */
  has(part: StringPart, text: string): boolean {
    const { automaton: machine, lengths } = this.part(part);
    const length = [...text].length;
    let state = machine.start;
    for (const byte of Buffer.from(JSON.stringify(text))) state = state < 0 ? state : machine.step(state, byte);
    const isSo = state >= 0 && machine.isFinal(state) && length >= lengths.min && length <= lengths.max;
    return isSo !== part.negated;
  }

  /** Texts in quotes that have all parts; null if there are none. For names of properties. */
  automaton(parts: readonly StringPart[], lengths: Lengths): Automaton | null {
    const all = this.intersection(parts, lengths);
    const whole = this.ofLength(all.automaton, all.lengths);
    return acceptsNothing(whole) ? null : whole;
  }

  /** What is asked for by a part, or forbidden if it is negated. */
  private part({ kind, text }: StringPart): CompiledPart {
    const key = `${kind} ${text}`;
    let known = this.byPart.get(key);
    if (known === undefined) {
      const { expression, lengths } = this.expression(kind, text);
      known = { automaton: automatonOf(quoted(expression), this.budget), lengths: lengths ?? anyLength };
      this.byPart.set(key, known);
    }
    return known;
  }

  private expression(kind: StringPart["kind"], text: string): { expression: Expression; lengths: Lengths | null } {
    if (kind === "text") return { expression: literal(JSON.stringify(text).slice(1, -1)), lengths: null };
    const source = kind === "format" ? stringFormats.get(text)! : text;
    return patternOf(source, jsonCharacter, this.budget, kind === "pattern");
  }

  private get any(): Automaton {
    anyString ??= automatonOf(quoted(repeat(anyCharacter, 0, Infinity)), new Budget("JSON", defaultLimits));
    return anyString;
  }

  private ofLength(plain: Automaton, { min, max }: Lengths): Automaton {
    if (min === 0 && max === Infinity) return plain;
    const long = automatonOf(quoted(repeat(anyCharacter, min, max)), this.budget);
    return product(plain, long, this.budget).automaton;
  }

  private ruleOf(whole: Automaton, name: string, isCounted: boolean): Rule {
    const rule = new Rule(name);
    // To count characters, a copy whose states know where one ends.
    const { automaton: machine, second } = isCounted
      ? product(whole, this.any, this.budget)
      : { automaton: whole, second: null };
    findNeeds([machine], this.trie.alphabet, this.budget);
    rule.machine = machine;
    const between = this.any.step(this.any.start, QUOTE);
    if (second !== null)
      this.betweenOf.set(
        rule,
        second.map((state) => Number(state === between)),
      );
    return rule;
  }

  private counted(plain: Rule, { min, max }: Lengths): Rule {
    const key = `${plain.name}, ${min} to ${max}`;
    let rule = this.byKey.get(key);
    if (rule === undefined) {
      rule = new Rule(key);
      this.byKey.set(key, rule);
      const machine = plain.machine as Automaton;
      const between = this.betweenOf.get(plain) ?? onlyBetween(machine);
      rule.machine = new CountedString(machine, between, { min, max }, this.trie);
    }
    return rule;
  }
}

/** For any string, which has one state between characters. */
function onlyBetween(machine: Automaton): Int32Array {
  const between = new Int32Array(machine.states);
  between[machine.step(machine.start, QUOTE)] = 1;
  return between;
}
