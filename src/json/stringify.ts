import { isObject, JsonNumber, keysOf } from "./value";

/** JSON.stringify for plain data, with numbers and the order of keys as parseJson read them. A bigint is written as its digits. */
export function stringifyJson(value: unknown): string {
  return isOrdinary(value) ? (JSON.stringify(value) ?? "null") : write(value);
}

/** Whether JSON.stringify, which is several times as fast, writes the same. */
function isOrdinary(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return typeof value !== "bigint";
  if (value instanceof JsonNumber) return false;
  if (Array.isArray(value)) return value.every(isOrdinary);
  let isFirst = true;
  for (const key in value) {
    if (isFirst && /^\d/.test(key)) return false;
    isFirst = false;
    if (!isOrdinary((value as Record<string, unknown>)[key])) return false;
  }
  return true;
}

function write(value: unknown): string {
  if (value instanceof JsonNumber) return value.text;
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? "null";
  const members = keysOf(value).flatMap((key) => {
    const member = value[key];
    return member === undefined || typeof member === "function" ? [] : [`${JSON.stringify(key)}:${write(member)}`];
  });
  return `{${members.join(",")}}`;
}
