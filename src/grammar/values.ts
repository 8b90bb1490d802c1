import { stringifyJson } from "../json/stringify";
import { isObject, JsonNumber } from "../json/value";
import { type Decimal, decimalOf, digitsOf } from "./decimal";

/** The number that a value is; null for others. */
export function numberOf(value: unknown): Decimal | null {
  return typeof value === "number" || value instanceof JsonNumber ? decimalOf(value) : null;
}

/** The same text for values that JSON schema takes for equal: 1 and 1.0, and objects in any order. */
export function canonicalText(value: unknown): string {
  const number = numberOf(value);
  if (number !== null) return digitsOf(number);
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`;
  if (!isObject(value)) return stringifyJson(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonicalText(value[name])}`).join(",")}}`;
}
