import { isObject } from "../../../json/value";
import type { Tool } from "../schemas/tools";

/** The JSON text of an argument whose value came as a text: what its schema wants, or without one JSON where it is. */
export function argumentText(tools: readonly Tool[], name: string, key: string, value: string): string {
  const schema = tools.find((tool) => tool.function.name === name)?.function.parameters?.properties;
  const types = isObject(schema) ? typesOf(schema[key]) : new Set<string>();
  const json = value.trim();
  const type = jsonTypeOf(json);
  const isWanted = type !== null && (types.has(type) || (type === "integer" && types.has("number")));
  if (type !== null && (types.size === 0 || isWanted)) return json;
  return JSON.stringify(value);
}

/** Types that a schema names, as far as it says so on its surface. */
function typesOf(schema: unknown): Set<string> {
  const types = new Set<string>();
  if (!isObject(schema)) return types;
  for (const type of [schema.type].flat()) if (typeof type === "string") types.add(type);
  for (const value of [schema.const, ...(Array.isArray(schema.enum) ? schema.enum : [])]) {
    if (value !== undefined) types.add(jsonTypeOf(JSON.stringify(value)) ?? "string");
  }
  for (const branch of [schema.anyOf, schema.oneOf].flat()) for (const type of typesOf(branch)) types.add(type);
  return types;
}

/** Null where it is no JSON. */
function jsonTypeOf(text: string): string | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}
