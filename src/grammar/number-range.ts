import { ceiling, compare, type Decimal, negated, normal } from "./decimal";
import { byteRange, choice, type Expression, literal, optional, repeat, sequence } from "./expression";
import { MAX_DIGITS } from "./json-text";

/** Decimal digits that a double keeps apart: texts of no more are in the order of their values, and differ if those do. */
export const EXACT_DIGITS = 15;
/** Digits after the point of a bound, and before it, at most. */
const MAX_PLACES = 40;
const FARTHEST = 10n ** 40n;
const LARGEST = 10n ** BigInt(MAX_DIGITS) - 1n;
const digit = byteRange(0x30, 0x39);

export interface Bound {
  readonly value: Decimal;
  readonly exclusive: boolean;
}

/** Integers between two bounds (null = none), as JSON writes them; null where there is none. */
export function integersBetween(low: Bound | null, high: Bound | null): Expression | null {
  const first = low === null ? null : clamp(smallest(low));
  const last = high === null ? null : clamp(-smallest(opposite(high)));
  const from = first ?? -largest(last === null ? 0n : -last);
  const to = last ?? largest(first ?? 0n);
  const options: Expression[] = [];
  if (from <= 0n && to >= 0n) options.push(literal("0"));
  const positive = counting(from > 1n ? from : 1n, to);
  if (positive !== null) options.push(positive);
  const negative = counting(to < -1n ? -to : 1n, -from);
  if (negative !== null) options.push(sequence(literal("-"), negative));
  return options.length === 0 ? null : choice(options);
}

/** As good as endless where numbers begin at `from`. */
function largest(from: bigint): bigint {
  const sameLength = 10n ** BigInt(String(from).length) - 1n;
  return from < FARTHEST && sameLength > LARGEST ? sameLength : LARGEST;
}

const opposite = ({ value, exclusive }: Bound): Bound => ({ value: negated(value), exclusive });

/** The smallest integer that is not below a bound. */
function smallest({ value, exclusive }: Bound): bigint {
  const { units } = ceiling(value, 0);
  return exclusive && value.places === 0 ? units + 1n : units;
}

/** What reaches farther is as good as endless. */
function clamp(value: bigint): bigint {
  return value > FARTHEST ? FARTHEST : value < -FARTHEST ? -FARTHEST : value;
}

/** Integers of at least 1 in a range; null where it is empty. */
function counting(from: bigint, to: bigint): Expression | null {
  const options: Expression[] = [];
  for (let start = from; start <= to; start = 10n ** BigInt(String(start).length)) {
    const longest = 10n ** BigInt(String(start).length) - 1n;
    options.push(between(String(start), String(to < longest ? to : longest)));
  }
  return options.length === 0 ? null : choice(options);
}

/** Digit strings of one length, from `low` to `high`. */
function between(low: string, high: string): Expression {
  if (low === "") return literal("");
  if (/^0+$/.test(low) && /^9+$/.test(high)) return repeat(digit, low.length);
  const [first, last] = [low.charCodeAt(0), high.charCodeAt(0)];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (first === last) return sequence(literal(low[0]!), between(lowRest, highRest));
  const options = [
    sequence(literal(low[0]!), between(lowRest, "9".repeat(lowRest.length))),
    sequence(literal(high[0]!), between("0".repeat(highRest.length), highRest)),
  ];
  if (first + 1 < last) options.push(sequence(byteRange(first + 1, last - 1), repeat(digit, lowRest.length)));
  return choice(options);
}

/** A bound without its sign. */
interface Limit {
  readonly whole: bigint;
  /** Without zeros at the end. */
  readonly fraction: string;
  readonly exclusive: boolean;
}

/** Zero that is not in the range: the part below zero has no "-0". */
const aboveZero: Limit = { whole: 0n, fraction: "", exclusive: true };
const fromZero: Limit = { ...aboveZero, exclusive: false };

function limitOf({ value: { units, places }, exclusive }: Bound): Limit {
  const digits = String(units < 0n ? -units : units).padStart(places + 1, "0");
  const whole = BigInt(digits.slice(0, digits.length - places));
  return { whole, fraction: places === 0 ? "" : digits.slice(-places), exclusive };
}

const wholeDigits = ({ whole }: Limit) => (whole === 0n ? 0 : String(whole).length);

/**
 * A lower bound whose digits can be told apart as texts and as doubles. Doubles are in the order of their texts, so one that
 * belongs to the range only has to be short; next to one that does not, the first value is two units away if it is long.
 */
function told(bound: Bound): Bound {
  const places = bound.exclusive ? Math.max(0, EXACT_DIGITS - wholeDigits(limitOf(bound))) : MAX_PLACES;
  if (bound.value.places <= places) return bound;
  const { units, places: kept } = ceiling(bound.value, places);
  const unit = 10n ** BigInt(places - kept);
  return { value: normal(units * unit + (bound.exclusive ? 1n : 0n), places), exclusive: false };
}

/** Digits after the point that a number between bounds may have. */
function placesBetween(bounds: readonly Bound[]): number {
  const exclusive = bounds.filter((bound) => bound.exclusive);
  if (exclusive.length === 0) return Math.max(EXACT_DIGITS, ...bounds.map(({ value }) => value.places));
  return Math.max(0, EXACT_DIGITS - Math.max(...exclusive.map((bound) => wholeDigits(limitOf(bound)))));
}

const isNegative = ({ value }: Bound) => value.units < 0n;

/** Numbers between two bounds (null = none), without exponents; null where there is none. */
export function numbersBetween(from: Bound | null, to: Bound | null): Expression | null {
  const low = from && told(from);
  const high = to && opposite(told(opposite(to)));
  if (low !== null && high !== null && compare(low.value, high.value) > 0) return null;
  const places = placesBetween([low, high].filter((bound) => bound !== null));
  const options: Expression[] = [];
  if (high === null || !isNegative(high)) {
    const near = low === null || isNegative(low) ? fromZero : limitOf(low);
    options.push(...decimals(near, high && limitOf(high), places));
  }
  if (low === null || isNegative(low)) {
    const near = high === null || !isNegative(high) ? aboveZero : limitOf(high);
    options.push(...decimals(near, low && limitOf(low), places).map((option) => sequence(literal("-"), option)));
  }
  return options.length === 0 ? null : choice(options);
}

/** From `low` on, up to `high`, neither below zero. */
function decimals(low: Limit, high: Limit | null, places: number): Expression[] {
  const options: Expression[] = [];
  const anyFraction = fractions(null, null, places)!;
  const last = high === null ? largest(low.whole) : clamp(high.whole) - 1n;
  const inner = counting(low.whole + 1n, last);
  if (inner !== null) options.push(sequence(inner, anyFraction));
  if (high !== null && high.whole < low.whole) return options;
  const same = high !== null && high.whole === low.whole;
  const first = fractions(low, same ? high : null, places);
  if (first !== null) options.push(sequence(literal(String(low.whole)), first));
  const end = same || high === null ? null : fractions(null, high, places);
  if (end !== null) options.push(sequence(literal(String(high!.whole)), end));
  return options;
}

/** Nothing or a point and digits, from the fraction of `low` to that of `high`; null where there is none. */
function fractions(low: Limit | null, high: Limit | null, places: number): Expression | null {
  const options: Expression[] = [];
  const from = low?.fraction ?? null;
  const to = high?.fraction ?? null;
  const exclusive = [low?.exclusive ?? false, high?.exclusive ?? false] as const;
  if (mayEnd(from, to, exclusive)) options.push(literal(""));
  const digits = digitsBetween(from, to, exclusive, places);
  if (digits !== null) options.push(sequence(literal("."), digits));
  return options.length === 0 ? null : choice(options);
}

type Exclusive = readonly [low: boolean, high: boolean];

/** Whether zeros from here on are in the range; null = the digits so far decide already. */
function mayEnd(low: string | null, high: string | null, [aboveLow, belowHigh]: Exclusive): boolean {
  return (low === null || (/^0*$/.test(low) && !aboveLow)) && (high === null || !belowHigh || /[1-9]/.test(high));
}

/** One digit or more, up to `places`. */
function digitsBetween(
  low: string | null,
  high: string | null,
  exclusive: Exclusive,
  places: number,
): Expression | null {
  if (places === 0) return null;
  if (low === null && high === null) return repeat(digit, 1, places);
  const first = Number(low?.[0] ?? 0);
  const last = Number(high === null ? 9 : (high[0] ?? 0));
  const options: Expression[] = [];
  for (let value = first; value <= last; value++) {
    const lowRest = low !== null && value === first ? low.slice(1) : null;
    const highRest = high !== null && value === last ? high.slice(1) : null;
    const more = digitsBetween(lowRest, highRest, exclusive, places - 1);
    const ends = mayEnd(lowRest, highRest, exclusive);
    if (more === null && !ends) continue;
    const rest = more === null ? literal("") : ends ? optional(more) : more;
    options.push(sequence(literal(String(value)), rest));
  }
  return options.length === 0 ? null : choice(options);
}
