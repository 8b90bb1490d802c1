import { byteRange, choice, type Expression, literal, optional, repeat, sequence } from "./expression";
import { MAX_DIGITS } from "./json-text";

/** Decimal digits that a double keeps apart: texts of no more are in the order of their values. */
const EXACT_DIGITS = 15;
const LARGEST = 10n ** BigInt(MAX_DIGITS) - 1n;
const digit = byteRange(0x30, 0x39);

export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** Integers between two bounds (null = none), as JSON writes them; null where there is none. */
export function integersBetween(low: Bound | null, high: Bound | null): Expression | null {
  const from = low === null ? -LARGEST : clamp(ceiling(low));
  const to = high === null ? LARGEST : clamp(-ceiling({ ...high, value: -high.value }));
  const options: Expression[] = [];
  if (from <= 0n && to >= 0n) options.push(literal("0"));
  const positive = counting(from > 1n ? from : 1n, to);
  if (positive !== null) options.push(positive);
  const negative = counting(to < -1n ? -to : 1n, -from);
  if (negative !== null) options.push(sequence(literal("-"), negative));
  return options.length === 0 ? null : choice(options);
}

/** The smallest integer that is not below a bound. */
function ceiling({ value, exclusive }: Bound): bigint {
  const up = BigInt(Math.ceil(value));
  return exclusive && Number.isInteger(value) ? up + 1n : up;
}

/** One more than the largest keeps a range beyond it empty. */
function clamp(value: bigint): bigint {
  const limit = LARGEST + 1n;
  return value > limit ? limit : value < -limit ? -limit : value;
}

/** Integers of at least 1 in a range; null where it is empty. */
function counting(from: bigint, last: bigint): Expression | null {
  const to = last > LARGEST ? LARGEST : last;
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
interface Decimal {
  readonly whole: bigint;
  /** Without zeros at the end. */
  readonly fraction: string;
  readonly exclusive: boolean;
}

/** Zero that is not in the range: the part below zero has no "-0". */
const aboveZero: Decimal = { whole: 0n, fraction: "", exclusive: true };
const fromZero: Decimal = { ...aboveZero, exclusive: false };

/** null for a bound with more than 15 digits. */
export function isExact({ value }: Bound): boolean {
  const text = Math.abs(value).toFixed(EXACT_DIGITS);
  return (
    Math.abs(value) < 10 ** EXACT_DIGITS &&
    Number(text) === Math.abs(value) &&
    room(decimal({ value, exclusive: false })) >= 0
  );
}

function decimal({ value, exclusive }: Bound): Decimal {
  const [whole, fraction] = Math.abs(value).toFixed(EXACT_DIGITS).split(".") as [string, string];
  return { whole: BigInt(whole), fraction: fraction.replace(/0+$/, ""), exclusive };
}

/** Digits after the point that a number near a bound may have, less those that the bound has itself if negative. */
function room({ whole, fraction }: Decimal): number {
  const digits = EXACT_DIGITS - (whole === 0n ? 0 : String(whole).length);
  return digits < fraction.length ? -1 : digits;
}

/** Numbers between two exact bounds (null = none), without exponents; null where there is none. */
export function numbersBetween(low: Bound | null, high: Bound | null): Expression | null {
  const places = Math.min(...[low, high].map((bound) => (bound === null ? EXACT_DIGITS : room(decimal(bound)))));
  const options: Expression[] = [];
  if (high === null || high.value >= 0) {
    options.push(...decimals(low === null || low.value < 0 ? fromZero : decimal(low), high && decimal(high), places));
  }
  if (low === null || low.value < 0) {
    const near = high === null || high.value >= 0 ? aboveZero : decimal(high);
    options.push(...decimals(near, low && decimal(low), places).map((option) => sequence(literal("-"), option)));
  }
  return options.length === 0 ? null : choice(options);
}

/** From `low` on, up to `high`, neither below zero. */
function decimals(low: Decimal, high: Decimal | null, places: number): Expression[] {
  const options: Expression[] = [];
  const anyFraction = fractions(null, null, places)!;
  const last = high === null ? LARGEST : high.whole - 1n;
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
function fractions(low: Decimal | null, high: Decimal | null, places: number): Expression | null {
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
