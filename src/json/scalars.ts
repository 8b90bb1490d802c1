import { type Json, JsonNumber } from "./value";

/** Characters of one number; who reads it exactly may take time that grows with their square. */
export const MAX_NUMBER = 1000;

const numberText = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

export const words: ReadonlyMap<string, Json> = new Map<string, Json>([
  ["true", true],
  ["false", false],
  ["null", null],
]);

/** A double where that is exactly what was written; undefined where it is no number. */
export function readNumber(written: string): number | JsonNumber | undefined {
  if (!numberText.test(written)) return undefined;
  const value = Number(written);
  // An integer above 2^53 may print as written and be another: 123456789012345680000.
  const isExact =
    String(value) === written && !written.includes("e") && !(Number.isInteger(value) && Math.abs(value) > 2 ** 53);
  return isExact ? value : new JsonNumber(written);
}

/** What is between the quotes of a string; undefined where an escape in it is unknown. */
export function readString(written: string): string | undefined {
  try {
    return JSON.parse(`"${written}"`) as string;
  } catch {
    return undefined;
  }
}
