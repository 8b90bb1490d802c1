import type { EngineError } from "../errors";
import { type Budget, refused } from "./budget";

/** The keywords of a schema that say something about values, by name. */
export type Keywords = ReadonlyMap<string, unknown>;

/** Say nothing about values. `$defs` and `definitions` are read where something refers to them. */
const annotations = new Set([
  ...["title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$comment"],
  ...["$schema", "$id", "$defs", "definitions", "discriminator"],
]);

const supported = new Set([
  ...["type", "nullable", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"],
  ...["properties", "required", "additionalProperties"],
  ...["items", "prefixItems", "minItems", "maxItems"],
  ...["minLength", "maxLength", "pattern", "format"],
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
]);

/** `path` is a JSON pointer such as "#/properties/name". */
export function badSchema(path: string, message: string): EngineError {
  return refused("json_schema", `json_schema, at ${shortened(path)}: ${message}`);
}

function shortened(path: string): string {
  return path.length > 200 ? `${path.slice(0, 200)}...` : path;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws EngineError ERR_REQUEST for what is no schema and for keywords that are not supported. */
export function keywordsOf(schema: unknown, path: string): Keywords {
  if (schema === true) return new Map();
  if (schema === false) throw badSchema(path, "false allows no value");
  if (!isObject(schema)) throw badSchema(path, `expected a schema, an object, got ${JSON.stringify(schema)}`);
  const keywords = Object.entries(schema).filter(([name]) => !annotations.has(name) && !name.startsWith("x-"));
  for (const [name] of keywords) {
    if (!supported.has(name)) throw badSchema(path, `the keyword ${JSON.stringify(name)} is not supported`);
  }
  return new Map(keywords);
}

export function without(keywords: Keywords, ...names: string[]): Keywords {
  return new Map([...keywords].filter(([name]) => !names.includes(name)));
}

export function listAt(keywords: Keywords, name: string, path: string): readonly unknown[] {
  const value = keywords.get(name);
  if (Array.isArray(value) && value.length > 0) return value;
  throw badSchema(path, `${name} must be a list that is not empty`);
}

/** A length or a number of items; `missing` where the keyword is not there. */
export function countAt(keywords: Keywords, name: string, path: string, missing: number): number {
  const value = keywords.get(name) ?? missing;
  if (value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0)) return value as number;
  throw badSchema(path, `${name} must be an integer of at least 0, got ${JSON.stringify(value)}`);
}

const jsonTypes = ["string", "integer", "number", "boolean", "null", "object", "array"] as const;
export type JsonType = (typeof jsonTypes)[number];

/** The types that `type` allows, or those that the other keywords are about. */
export function typesOf(keywords: Keywords, path: string): readonly JsonType[] {
  const type = keywords.get("type");
  if (type !== undefined) {
    const types = Array.isArray(type) ? type : [type];
    const unknown = types.find((name) => !jsonTypes.includes(name));
    if (unknown !== undefined || types.length === 0) {
      throw badSchema(path, `type must be among ${jsonTypes.join(", ")}, got ${JSON.stringify(type)}`);
    }
    return types.includes("number") ? types.filter((name) => name !== "integer") : [...new Set(types)];
  }
  const about: [JsonType, RegExp][] = [
    ["object", /^(properties|required|additionalProperties)$/],
    ["array", /^(items|prefixItems|minItems|maxItems)$/],
    ["string", /^(minLength|maxLength|pattern|format)$/],
    ["number", /^(minimum|maximum|exclusiveMinimum|exclusiveMaximum)$/],
  ];
  return about.filter(([, names]) => [...keywords.keys()].some((name) => names.test(name))).map(([name]) => name);
}

export function isOfType(value: unknown, type: JsonType): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  return type === "integer" ? Number.isInteger(value) : typeof value === type;
}

const lower = new Set(["minimum", "exclusiveMinimum", "minLength", "minItems"]);
const upper = new Set(["maximum", "exclusiveMaximum", "maxLength", "maxItems"]);

/** What satisfies both. @throws EngineError ERR_REQUEST where that cannot be said with the keywords of one schema. */
export function merged(a: Keywords, b: Keywords, path: string, budget: Budget): Keywords {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if ((one.get("additionalProperties") ?? true) !== true) {
      const names = new Set(Object.keys(one.get("properties") ?? {}));
      const added = Object.keys(other.get("properties") ?? {}).find((name) => !names.has(name));
      if (added !== undefined) {
        throw badSchema(
          path,
          `additionalProperties forbids ${JSON.stringify(added)} of the schema it is combined with`,
        );
      }
    }
    if (one.has("prefixItems") && other.has("items"))
      throw badSchema(path, "prefixItems and items of two schemas cannot be combined");
  }
  const both = new Map(a);
  for (const [name, value] of b) {
    const known = both.get(name);
    const texts = [JSON.stringify(known) ?? "", JSON.stringify(value)] as const;
    budget.spend(5 + Math.ceil((texts[0].length + texts[1].length) / 4));
    if (known === undefined || texts[0] === texts[1]) both.set(name, value);
    else both.set(name, mergedValue(name, known, value, path));
  }
  // null is allowed only where both allow it.
  if (!(a.has("nullable") && b.has("nullable"))) both.delete("nullable");
  return both;
}

function mergedValue(name: string, a: unknown, b: unknown, path: string): unknown {
  if (lower.has(name) && typeof a === "number" && typeof b === "number") return Math.max(a, b);
  if (upper.has(name) && typeof a === "number" && typeof b === "number") return Math.min(a, b);
  if ((name === "required" || name === "allOf") && Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
  if (name === "properties" && isObject(a) && isObject(b)) {
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    const own = (schema: Readonly<Record<string, unknown>>, key: string) =>
      Object.hasOwn(schema, key) ? [schema[key]] : [];
    return Object.fromEntries(
      names.map((key) => {
        const schemas = [...own(a, key), ...own(b, key)];
        return [key, schemas.length === 1 ? schemas[0] : { allOf: schemas }];
      }),
    );
  }
  if (name === "type") {
    const [left, right] = [a, b].map((type) => typesOf(new Map([["type", type]]), path));
    const common = [
      ...left!.filter((type) => right!.includes(type) || (type === "integer" && right!.includes("number"))),
      ...right!.filter((type) => type === "integer" && left!.includes("number")),
    ];
    if (common.length > 0) return common;
  }
  throw badSchema(path, `${name} is given twice, and the two cannot be combined`);
}
