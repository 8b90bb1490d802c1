import type { EngineError } from "../errors";
import { stringifyJson } from "../json/stringify";
import { isObject, JsonNumber, toNumber } from "../json/value";
import { refused } from "./budget";
import { type Decimal, decimalOf } from "./decimal";

/** A schema and where it stands, as a JSON pointer such as "#/properties/name". */
export interface Located {
  readonly schema: unknown;
  readonly path: string;
}

/** The keywords of a schema that say something about values, by name. */
export type Keywords = ReadonlyMap<string | symbol, unknown>;

/** Keywords that no schema has and that only negations bring: what a value is not, and that a number is not whole. */
export const notEnum = Symbol("not enum");
export const notPattern = Symbol("not pattern");
export const notMultipleOf = Symbol("not multipleOf");
export const isFractional = Symbol("not integer");

/** Keywords by the type of the values that they are about. */
const about = {
  object: [
    ...["properties", "required", "additionalProperties", "patternProperties", "propertyNames"],
    ...["minProperties", "maxProperties", "unevaluatedProperties"],
    ...["dependencies", "dependentRequired", "dependentSchemas"],
  ],
  array: ["items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
} as const;

const combining = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref"];
const supported = new Set([...Object.values(about).flat(), ...combining, "type", "nullable", "enum", "const"]);
/** Say something about values that is not read. */
const refusedNames = new Set([
  "$dynamicRef",
  "$recursiveRef",
  "maxContains",
  "unevaluatedItems",
  "divisibleBy",
  "extends",
]);

/** `path` is a JSON pointer such as "#/properties/name". */
export function badSchema(path: string, message: string): EngineError {
  const shortened = path.length > 200 ? `${path.slice(0, 200)}...` : path;
  return refused("json_schema", `json_schema, at ${shortened}: ${message}`);
}

/** Keywords of schemas that were read: each is met again wherever it is combined with others. */
const keywordsBySchema = new WeakMap<object, Keywords>();

/**
 * What says something about values; other keywords are annotations, as the standard has it.
 *
 * @throws EngineError ERR_REQUEST for what is no schema, and for keywords that are not supported or nearly supported ones.
 */
export function keywordsOf({ schema, path }: Located): Keywords {
  if (schema === true) return new Map();
  if (!isObject(schema)) throw badSchema(path, `expected a schema, an object, got ${stringifyJson(schema)}`);
  const before = keywordsBySchema.get(schema);
  if (before !== undefined) return before;
  const keywords = new Map<string | symbol, unknown>();
  for (const [name, value] of Object.entries(schema)) {
    if (supported.has(name)) keywords.set(name, value);
    else if (refusedNames.has(name)) throw badSchema(path, `the keyword ${JSON.stringify(name)} is not supported`);
    else checkSpelling(name, path);
  }
  for (const name of Object.getOwnPropertySymbols(schema)) keywords.set(name, Reflect.get(schema as object, name));
  keywordsBySchema.set(schema, keywords);
  return keywords;
}

/** A misspelled keyword would be ignored without a word. */
function checkSpelling(name: string, path: string): void {
  // A mark says that it is another keyword on purpose.
  if (!/^[A-Za-z]+$/.test(name)) return;
  const lower = name.toLowerCase();
  const letters = lettersOf(lower);
  for (const keyword of supportedNames) {
    const { most } = keyword;
    const isFar = ones(letters & ~keyword.letters) > most || ones(keyword.letters & ~letters) > most;
    if (isFar || (lower !== keyword.lower && distance(name, keyword.name, most) > most)) continue;
    throw badSchema(path, `the keyword ${JSON.stringify(name)} is not supported; ${JSON.stringify(keyword.name)} is`);
  }
}

/** A bit for each letter, in either case. */
function lettersOf(name: string): number {
  let bits = 0;
  for (let i = 0; i < name.length; i++) bits |= 1 << (name.charCodeAt(i) & 31);
  return bits;
}

function ones(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count++;
  return count;
}

/** With how many letters may be wrong in each: a short one is soon another word. */
const supportedNames = [...supported].map((name) => ({
  name,
  lower: name.toLowerCase(),
  letters: lettersOf(name.toLowerCase()),
  most: name.length < 5 ? 0 : name.length < 8 ? 1 : 2,
}));

/** Letters to change, add or leave out (Levenshtein's distance), or more than `most`. */
function distance(a: string, b: string, most: number): number {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1]! + Number(a[i - 1] !== b[j - 1]);
      next.push(Math.min(changed, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

export function listAt(keywords: Keywords, name: string, path: string): readonly unknown[] {
  const value = keywords.get(name);
  if (Array.isArray(value) && value.length > 0) return value;
  throw badSchema(path, `${name} must be a list that is not empty`);
}

/** The schemas of a list. */
export function schemasAt(keywords: Keywords, name: string, path: string): readonly Located[] {
  return listAt(keywords, name, path).map((schema, i) => ({ schema, path: `${path}/${name}/${i}` }));
}

export function objectAt(keywords: Keywords, name: string, path: string): Readonly<Record<string, unknown>> {
  const value = keywords.get(name) ?? {};
  if (isObject(value)) return value;
  throw badSchema(path, `${name} must be an object`);
}

export function namesAt(keywords: Keywords, name: string, path: string): readonly string[] {
  return namesOf(keywords.get(name) ?? [], name, path);
}

export function namesOf(value: unknown, name: string, path: string): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw badSchema(path, `${name} must be a list of names`);
}

/** A length or a number of items; `missing` where the keyword is not there. */
export function countAt(keywords: Keywords, name: string, path: string, missing: number): number {
  const value = toNumber(keywords.get(name)) ?? missing;
  if (value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0)) return value as number;
  throw badSchema(path, `${name} must be an integer of at least 0, got ${stringifyJson(keywords.get(name))}`);
}

/** null where it is not there. */
export function numberAt(keywords: Keywords, name: string | symbol, path: string): Decimal | null {
  const value = keywords.get(name);
  if (value === undefined) return null;
  if (typeof value !== "number" && !(value instanceof JsonNumber)) {
    throw badSchema(path, `${String(name)} must be a number, got ${stringifyJson(value)}`);
  }
  const decimal = decimalOf(value);
  if (decimal === null) throw badSchema(path, `${String(name)} is too far from 1: ${stringifyJson(value)}`);
  return decimal;
}

const jsonTypes = ["string", "integer", "number", "boolean", "null", "object", "array"] as const;
export type JsonType = (typeof jsonTypes)[number];
export const allTypes: readonly JsonType[] = jsonTypes.filter((type) => type !== "integer");

/** What `type` allows; null where it is not there. No integer beside number, which has them. */
export function typesAt(keywords: Keywords, path: string): readonly JsonType[] | null {
  const type = keywords.get("type");
  if (type === undefined) return null;
  const types: unknown[] = Array.isArray(type) ? type : [type];
  if (types.length === 0 || !types.every((name) => (jsonTypes as readonly unknown[]).includes(name))) {
    throw badSchema(path, `type must be among ${jsonTypes.join(", ")}, got ${stringifyJson(type)}`);
  }
  return [...new Set(types as JsonType[])].filter((name) => name !== "integer" || !types.includes("number"));
}

/** The types that keywords are about. */
export function typesOf(keywords: Keywords): readonly JsonType[] {
  return (Object.keys(about) as (keyof typeof about)[]).filter((type) =>
    about[type].some((name) => keywords.has(name)),
  );
}

export function typeOf(value: unknown): JsonType {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number" || value instanceof JsonNumber) {
    return decimalOf(value)?.places === 0 ? "integer" : "number";
  }
  return typeof value === "object" ? "object" : (typeof value as JsonType);
}
