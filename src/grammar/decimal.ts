import { JsonNumber } from "../json/value";

/** A number of JSON, exactly: units / 10^places, with no zero at the end of the units where places is above 0. */
export interface Decimal {
  readonly units: bigint;
  readonly places: number;
}

/** Digits that are written out at most: beyond it a number is all but endless, or all but zero. */
const MAX_EXPONENT = 400;

/** null for what is no number, or is farther from 1 than 400 digits. */
export function decimalOf(value: unknown): Decimal | null {
  if (typeof value !== "number" && !(value instanceof JsonNumber)) return null;
  const match = /^(-?\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(String(value));
  if (match === null) return null;
  const [, whole, fraction = "", exponent = "0"] = match;
  const places = fraction.length - Number(exponent);
  if (Math.abs(places) > MAX_EXPONENT) return null;
  return normal(BigInt(whole! + fraction), places);
}

export function normal(units: bigint, places: number): Decimal {
  if (places <= 0) return { units: units * 10n ** BigInt(-places), places: 0 };
  let [left, rest] = [units, places];
  while (rest > 0 && left % 10n === 0n) {
    left /= 10n;
    rest -= 1;
  }
  return { units: left, places: rest };
}

/** Units of both with the same number of places. */
function aligned(a: Decimal, b: Decimal): [bigint, bigint] {
  const places = Math.max(a.places, b.places);
  return [a.units * 10n ** BigInt(places - a.places), b.units * 10n ** BigInt(places - b.places)];
}

/** Below, at or above 0 as a is below, at or above b. */
export function compare(a: Decimal, b: Decimal): number {
  const [left, right] = aligned(a, b);
  return left < right ? -1 : left > right ? 1 : 0;
}

export function isMultiple(a: Decimal, of: Decimal): boolean {
  const [left, right] = aligned(a, of);
  return left % right === 0n;
}

export const negated = ({ units, places }: Decimal): Decimal => ({ units: -units, places });

/** The smallest multiple of 10^-places that is not below it. */
export function ceiling({ units, places }: Decimal, to: number): Decimal {
  if (places <= to) return { units, places };
  const factor = 10n ** BigInt(places - to);
  const down = units / factor;
  return normal(units > 0n && units % factor !== 0n ? down + 1n : down, to);
}

/** Without an exponent. */
export function digitsOf({ units, places }: Decimal): string {
  const digits = String(units < 0n ? -units : units).padStart(places + 1, "0");
  const fraction = places === 0 ? "" : `.${digits.slice(-places)}`;
  return `${units < 0n ? "-" : ""}${digits.slice(0, digits.length - places)}${fraction}`;
}
