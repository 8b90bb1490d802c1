import type { Budget } from "./budget";
import { type Decimal, digitsOf, normal } from "./decimal";
import {
  automaton,
  byteRange,
  call,
  choice,
  type Expression,
  literal,
  optional,
  Rule,
  repeat,
  sequence,
} from "./expression";
import { JsonRules, MAX_DIGITS } from "./json-text";
import { MAX_REMAINDERS, multiplesOf } from "./multiple-of";
import { type Bound, EXACT_DIGITS, integersBetween, numbersBetween } from "./number-range";
import { acceptsNothing, product } from "./product";
import { automatonOf } from "./subsets";
import type { TokenTrie } from "./token-trie";

/** What a number has to be. All of it holds at once. */
export interface NumberKeywords {
  readonly low: Bound | null;
  readonly high: Bound | null;
  /** Positive. */
  readonly multiples: readonly Decimal[];
  /** Positive; what it is no multiple of. */
  readonly notMultiples: readonly Decimal[];
  readonly excluded: readonly Decimal[];
  /** Not a whole number. */
  readonly isFractional: boolean;
}

const zeros = repeat(literal("0"), 1, Infinity);
const moreZeros = sequence(repeat(literal("0"), 0, Infinity), optional(sequence(literal("."), zeros)));
const digit = byteRange(0x30, 0x39);
const sign = optional(literal("-"));
/** Digits so few that a double is equal to no other text than those that are equal as decimals. */
const told = choice([
  sequence(sign, repeat(digit, 1, EXACT_DIGITS)),
  sequence(sign, repeat(digit, 1, 8), literal("."), repeat(digit, 1, EXACT_DIGITS - 8)),
]);
const withFraction = sequence(
  sign,
  repeat(digit, 1, Infinity),
  literal("."),
  repeat(digit, 0, Infinity),
  byteRange(0x31, 0x39),
  repeat(literal("0"), 0, Infinity),
);
/** Without zeros at the end of a fraction. */
const shortest = sequence(
  sign,
  repeat(digit, 1, Infinity),
  optional(sequence(literal("."), repeat(digit, 0, Infinity), byteRange(0x31, 0x39))),
);

/** Any number in its shortest form. */
const shortFraction = sequence(literal("."), repeat(digit, 0, EXACT_DIGITS - 1), byteRange(0x31, 0x39));
const shortestNumber = choice([
  literal("0"),
  sequence(sign, literal("0"), shortFraction),
  sequence(sign, byteRange(0x31, 0x39), repeat(digit, 0, MAX_DIGITS - 1), optional(shortFraction)),
]);

/** The numbers of a schema. Each is compiled once. */
export class NumberRules {
  private readonly json: JsonRules;
  private readonly byKey = new Map<string, Rule>();

  constructor(
    trie: TokenTrie,
    private readonly budget: Budget,
    /** Where rules to compile are added. */
    private readonly texts: [Rule, Expression][],
  ) {
    this.json = JsonRules.of(trie);
  }

  /** null where there is no such number. `isOneWay`: each in one way to write it. */
  numbers(type: "integer" | "number", keywords: NumberKeywords, isOneWay: boolean): Expression | null {
    const { low, high, multiples, notMultiples, excluded, isFractional } = keywords;
    const isOpen = low === null && high === null;
    const isPlain = multiples.length + notMultiples.length + excluded.length === 0 && !isFractional;
    if (isOpen && isPlain && (type === "integer" || !isOneWay)) return call(this.json[type]);
    const bounds = [low, high].map((bound) => bound && `${bound.exclusive ? "not " : ""}${digitsOf(bound.value)}`);
    const others = [multiples, notMultiples, excluded].map((values) => values.map(digitsOf).join());
    const key = [type, isOneWay, isFractional, ...bounds, ...others].join(" ");
    const known = this.byKey.get(key);
    if (known !== undefined) return call(known);
    const expression = isOpen && isPlain ? shortestNumber : this.expression(type, keywords, isOneWay);
    if (expression === null) return null;
    const rule = new Rule(key);
    this.byKey.set(key, rule);
    this.texts.push([rule, expression]);
    return call(rule);
  }

  private expression(type: "integer" | "number", keywords: NumberKeywords, isOneWay: boolean): Expression | null {
    const { low, high, multiples, notMultiples, excluded, isFractional } = keywords;
    const between = type === "integer" ? integersBetween(low, high) : numbersBetween(low, high);
    if (
      between === null ||
      (multiples.length + notMultiples.length + excluded.length === 0 && !isFractional && !isOneWay)
    )
      return between;
    let numbers = automatonOf(between, this.budget);
    const intersect = (other: Expression, without = false) => {
      numbers = product(numbers, automatonOf(other, this.budget), this.budget, without).automaton;
    };
    for (const multiple of multiples) {
      intersect(this.multiples(type === "integer" ? wholeMultiple(multiple) : multiple));
    }
    // Readers of doubles are to find what readers of decimals do, unless the bounds ask for more digits.
    const short = product(numbers, automatonOf(told, this.budget), this.budget).automaton;
    if (!acceptsNothing(short)) numbers = short;
    for (const multiple of notMultiples) intersect(sequence(this.multiples(multiple), moreZeros), true);
    if (excluded.length > 0) intersect(choice(excluded.map(everyWay)), true);
    if (isFractional) intersect(withFraction);
    if (isOneWay) intersect(shortest);
    return acceptsNothing(numbers) ? null : automaton(numbers);
  }

  /** The zeros at its end are written after the multiples of what is before them. */
  private multiples(of: Decimal): Expression {
    const ending = of.places > 0 ? "" : /0*$/.exec(String(of.units))![0];
    const before = automaton(multiplesOf({ ...of, units: of.units / 10n ** BigInt(ending.length) }, this.budget));
    return ending === "" ? before : choice([literal("0"), sequence(before, literal(ending))]);
  }
}

/** The least whole number among the multiples. */
function wholeMultiple({ units, places }: Decimal): Decimal {
  let [a, b] = [units, 10n ** BigInt(places)];
  while (b !== 0n) [a, b] = [b, a % b];
  return normal(units / a, 0);
}

/** Whether the remainders are few enough to be told apart. */
export const canBeDivided = ({ units }: Decimal): boolean =>
  BigInt(String(units).replace(/0+$/, "")) <= BigInt(MAX_REMAINDERS);

/** With all zeros that may follow. */
function everyWay(value: Decimal): Expression {
  const digits = literal(digitsOf(value));
  return value.places > 0
    ? sequence(digits, repeat(literal("0"), 0, Infinity))
    : sequence(digits, optional(sequence(literal("."), zeros)));
}
