/** A JSON number that JavaScript's own would not write as it was written: 1.0, 1e2, 9007199254740993, -0. */
export class JsonNumber {
  /** @param text a number as JSON has it */
  constructor(readonly text: string) {}

  /** The nearest double; infinite where none is near. */
  get value(): number {
    return Number(this.text);
  }

  /** Written without a fraction and an exponent: an int in Python, where 1.0 and 1e2 are floats. */
  get isWhole(): boolean {
    return !/[.eE]/.test(this.text);
  }

  toString(): string {
    return this.text;
  }

  /** For JSON.stringify, which cannot write the text; stringifyJson can. */
  toJSON(): number {
    return this.value;
  }
}

/** Plain data as parseJson gives it. Where a number is a `number`, it prints as it was written. */
export type Json = null | boolean | number | string | JsonNumber | readonly Json[] | { readonly [key: string]: Json };

/** A JSON object: no list, no null, no number. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);
}

/** A JavaScript object has keys such as "10" first, whenever they came; of such objects the order that was written. */
const order = new WeakMap<object, readonly string[]>();

/** Keys that objects put first and sort; as a number it is at most 2^32 - 2. */
const isIndex = (key: string) => /^(0|[1-9]\d{0,9})$/.test(key);

/** The keys in the order that they were written in. A copy made with `...` forgets it, one of `objectOf` does not. */
export function keysOf(object: object): readonly string[] {
  const keys = Object.keys(object);
  return keys.length > 1 && isIndex(keys[0]!) ? (order.get(object) ?? keys) : keys;
}

export function entriesOf<Value>(object: Readonly<Record<string, Value>>): [string, Value][] {
  return keysOf(object).map((key) => [key, object[key]!]);
}

/** An object of these entries that remembers their order. Of equal keys the last value counts, at the place of the first. */
export function objectOf<Value>(entries: readonly (readonly [string, Value])[]): Record<string, Value> {
  const object: Record<string, Value> = {};
  for (const [key, value] of entries) setOwn(object, key, value);
  if (entries.some(([key]) => isIndex(key))) rememberOrder(object, [...new Set(entries.map(([key]) => key))]);
  return object;
}

/** As assignment does it, also for `__proto__`, which is a key like any other in JSON. */
export function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

/** @param keys those of the object, each once */
export function rememberOrder(object: object, keys: readonly string[]): void {
  order.set(object, keys);
}

/** A copy with `change` applied to every string in it, keys included; numbers and orders stay as they are. */
export function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change));
  if (!isObject(value)) return value;
  return objectOf(entriesOf(value).map(([key, item]) => [change(key), mapStrings(item, change)]));
}

/** A JsonNumber as the double it stands for, for fields where no digit is lost that way; other values as they are. */
export const toNumber = (value: unknown): unknown => (value instanceof JsonNumber ? value.value : value);
