import { isObject } from "../json/value";
import {
  allTypes,
  isFractional,
  keywordsOf,
  type Located,
  listAt,
  namesAt,
  notEnum,
  notMultipleOf,
  notPattern,
  objectAt,
  schemasAt,
  typesAt,
} from "./schema-keywords";
import { canonicalText } from "./values";

/** A schema that a value satisfies, or does not. */
export interface Claim {
  readonly located: Located;
  readonly negated: boolean;
}

/** Claims that all hold. */
export type Claims = readonly Claim[];

const claim = (located: Located): Claim => ({ located, negated: false });
const denial = (located: Located): Claim => ({ located, negated: true });

/**
 * Ways in which a value can fail a schema, in each of which it does; not all of them, where no keywords could say so.
 * `$ref` is not followed.
 */
export function waysToFail({ schema, path }: Located): readonly Claims[] {
  if (schema === false) return [[]];
  const keywords = keywordsOf({ schema, path });
  const ways: Claims[] = [];
  const way = (failing: object) => ways.push([claim({ schema: failing, path })]);
  const at = (name: string): Located => ({ schema: keywords.get(name) ?? true, path: `${path}/${name}` });

  const types = typesAt(keywords, path);
  if (types !== null) {
    const others = allTypes.filter(
      (type) => !types.includes(type) && !(type === "number" && types.includes("integer")),
    );
    if (others.length > 0) way({ type: others });
    if (types.includes("integer")) way({ type: "number", [isFractional]: true });
  }
  if (keywords.has("const")) way({ [notEnum]: [canonicalText(keywords.get("const"))] });
  if (keywords.has("enum")) way({ [notEnum]: listAt(keywords, "enum", path).map(canonicalText) });

  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = Object.fromEntries(keywords);
  if (minimum !== undefined)
    way({ type: "number", [exclusiveMinimum === true ? "maximum" : "exclusiveMaximum"]: minimum });
  if (maximum !== undefined)
    way({ type: "number", [exclusiveMaximum === true ? "minimum" : "exclusiveMinimum"]: maximum });
  if (exclusiveMinimum !== undefined && typeof exclusiveMinimum !== "boolean")
    way({ type: "number", maximum: exclusiveMinimum });
  if (exclusiveMaximum !== undefined && typeof exclusiveMaximum !== "boolean")
    way({ type: "number", minimum: exclusiveMaximum });
  for (const [type, least, most] of counts) {
    const [min, max] = [keywords.get(least), keywords.get(most)].map(Number);
    if (min! > 0) way({ type, [most]: min! - 1 });
    if (max! >= 0) way({ type, [least]: max! + 1 });
  }
  if (keywords.has("multipleOf")) way({ type: "number", [notMultipleOf]: keywords.get("multipleOf") });
  if (keywords.has("pattern")) way({ type: "string", [notPattern]: keywords.get("pattern") });

  for (const name of namesAt(keywords, "required", path)) way({ type: "object", properties: { [name]: false } });
  for (const [name, of] of Object.entries(objectAt(keywords, "properties", path))) {
    if (of !== true) way({ type: "object", required: [name], properties: { [name]: { not: of } } });
  }
  const items = keywords.get("items");
  // Items after the first ones only, where there are such.
  if (!keywords.has("prefixItems") && (items === false || isObject(items)))
    way({ type: "array", contains: { not: items } });
  if (keywords.has("contains") && !keywords.has("minContains")) {
    way({ type: "array", items: { not: keywords.get("contains") } });
  }

  if (keywords.has("allOf")) for (const part of schemasAt(keywords, "allOf", path)) ways.push([denial(part)]);
  for (const union of ["anyOf", "oneOf"]) {
    if (keywords.has(union)) ways.push(schemasAt(keywords, union, path).map(denial));
  }
  if (keywords.has("not")) ways.push([claim(at("not"))]);
  if (keywords.has("if")) {
    if (keywords.has("then")) ways.push([claim(at("if")), denial(at("then"))]);
    if (keywords.has("else")) ways.push([denial(at("if")), denial(at("else"))]);
  }
  if (keywords.get("nullable") !== true) return ways;
  return ways.map((claims) => [...claims, claim({ schema: { [notEnum]: ["null"] }, path })]);
}

const counts = [
  ["string", "minLength", "maxLength"],
  ["array", "minItems", "maxItems"],
  ["object", "minProperties", "maxProperties"],
] as const;
