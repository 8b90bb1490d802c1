import { stringifyJson } from "../json/stringify";
import { entriesOf } from "../json/value";
import { compare, type Decimal, normal } from "./decimal";
import type { Bound } from "./number-range";
import { canBeDivided, type NumberKeywords } from "./number-rules";
import {
  allTypes,
  badSchema,
  countAt,
  isFractional,
  type JsonType,
  type Keywords,
  type Located,
  listAt,
  namesAt,
  notEnum,
  notMultipleOf,
  notPattern,
  numberAt,
  objectAt,
  schemasAt,
  typeOf,
  typesAt,
  typesOf,
} from "./schema-keywords";
import { stringFormats } from "./string-formats";
import type { StringPart } from "./string-rules";
import { canonicalText } from "./values";

/** What one schema says about properties: a property that it neither names nor matches is an additional one. */
export interface PropertyRules {
  readonly named: ReadonlyMap<string, Located>;
  readonly patterns: readonly { readonly source: string; readonly value: Located }[];
  /** null = nothing is said about them. */
  readonly additional: Located | null;
}

/** What one schema says about items: those after the first ones are `rest`. */
export interface ItemRules {
  readonly first: readonly Located[];
  /** null = nothing is said about them. */
  readonly rest: Located | null;
}

/** What several schemas say about one value, all of which holds: schemas without alternatives, merged. */
export interface Conjunction {
  /** null = not said. */
  readonly types: readonly JsonType[] | null;
  /** The types that its keywords are about. */
  readonly about: readonly JsonType[];
  /** null = not said. */
  readonly constants: readonly unknown[] | null;
  /** Values that it is not, as canonical texts. */
  readonly excluded: readonly string[];
  readonly numbers: NumberKeywords;
  readonly strings: { readonly parts: readonly StringPart[]; readonly min: number; readonly max: number };
  readonly properties: readonly PropertyRules[];
  readonly required: ReadonlySet<string>;
  readonly propertyNames: readonly Located[];
  readonly propertyCount: { readonly min: number; readonly max: number };
  /** What properties have to be that no schema names. */
  readonly unevaluated: readonly Located[];
  readonly items: readonly ItemRules[];
  readonly itemCount: { readonly min: number; readonly max: number };
  readonly isUnique: boolean;
  readonly contains: readonly { readonly item: Located; readonly min: number }[];
}

export const anything: Conjunction = {
  types: null,
  about: [],
  constants: null,
  excluded: [],
  numbers: { low: null, high: null, multiples: [], notMultiples: [], excluded: [], isFractional: false },
  strings: { parts: [], min: 0, max: Infinity },
  properties: [],
  required: new Set(),
  propertyNames: [],
  propertyCount: { min: 0, max: Infinity },
  unevaluated: [],
  items: [],
  itemCount: { min: 0, max: Infinity },
  isUnique: false,
  contains: [],
};

/**
 * What holds besides, by the keywords of a schema but those that combine schemas; null where that is a contradiction
 * already.
 */
export function merged(all: Conjunction, keywords: Keywords, path: string): Conjunction | null {
  const own = typesAt(keywords, path);
  const types = all.types === null ? own : own === null ? all.types : commonTypes(all.types, own);
  const both: Conjunction = {
    types,
    about: [...new Set([...all.about, ...typesOf(keywords)])],
    constants: constantsOf(all.constants, keywords, path),
    excluded: [...all.excluded, ...((keywords.get(notEnum) as readonly string[] | undefined) ?? [])],
    numbers: mergedNumbers(all.numbers, keywords, path),
    strings: mergedStrings(all.strings, keywords, path),
    ...mergedProperties(all, keywords, path),
    ...mergedItems(all, keywords, path),
  };
  const isEmpty = both.types?.length === 0 || both.constants?.length === 0;
  const isForbidden = [...both.required].some((name) =>
    both.properties.some(({ named }) => named.get(name)?.schema === false),
  );
  return isEmpty || isForbidden ? null : both;
}

function commonTypes(a: readonly JsonType[], b: readonly JsonType[]): readonly JsonType[] {
  const has = (types: readonly JsonType[], type: JsonType) =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  return [...a.filter((type) => has(b, type)), ...b.filter((type) => has(a, type) && !a.includes(type))];
}

function constantsOf(known: readonly unknown[] | null, keywords: Keywords, path: string): readonly unknown[] | null {
  let constants = known;
  for (const name of ["enum", "const"]) {
    if (!keywords.has(name)) continue;
    const values = name === "const" ? [keywords.get(name)] : listAt(keywords, name, path);
    const texts = new Set(values.map(canonicalText));
    constants = constants === null ? values : constants.filter((value) => texts.has(canonicalText(value)));
  }
  return constants;
}

/** Bits of the whole numbers of a format, besides the sign. */
const sizes = new Map<unknown, bigint>([
  ["int32", 31n],
  ["int64", 63n],
]);

function mergedNumbers(all: NumberKeywords, keywords: Keywords, path: string): NumberKeywords {
  let { low, high } = all;
  for (const [inclusive, exclusive, isLow] of [
    ["minimum", "exclusiveMinimum", true],
    ["maximum", "exclusiveMaximum", false],
  ] as const) {
    // In draft 4 it says whether the other one is exclusive.
    const flag = keywords.get(exclusive);
    const isFlag = typeof flag === "boolean" && keywords.has(inclusive);
    for (const name of isFlag ? [inclusive] : [inclusive, exclusive]) {
      const value = numberAt(keywords, name, path);
      if (value === null) continue;
      const bound = { value, exclusive: name === exclusive || flag === true };
      if (isLow) low = tighter(low, bound, 1);
      else high = tighter(high, bound, -1);
    }
  }
  const width = sizes.get(keywords.get("format"));
  if (width !== undefined) {
    low = tighter(low, { value: normal(-(2n ** width), 0), exclusive: false }, 1);
    high = tighter(high, { value: normal(2n ** width - 1n, 0), exclusive: false }, -1);
  }
  const [multiple, denied] = ["multipleOf", notMultipleOf].map((name) => multipleAt(keywords, name, path));
  return {
    low,
    high,
    multiples: [...all.multiples, ...multiple!, ...(width === undefined ? [] : [normal(1n, 0)])],
    excluded: all.excluded,
    notMultiples: [...all.notMultiples, ...denied!],
    isFractional: all.isFractional || keywords.has(isFractional),
  };
}

function multipleAt(keywords: Keywords, name: string | symbol, path: string): readonly Decimal[] {
  const value = numberAt(keywords, name, path);
  if (value === null) return [];
  if (value.units <= 0n) throw badSchema(path, "multipleOf must be above 0");
  if (canBeDivided(value)) return [value];
  throw badSchema(path, `multipleOf ${stringifyJson(keywords.get(name))} has too many remainders`);
}

/** The one of two bounds that allows less; `side` is 1 for lower ones. */
function tighter(a: Bound | null, b: Bound, side: number): Bound {
  if (a === null) return b;
  const difference = side * compare(a.value, b.value);
  return difference > 0 || (difference === 0 && a.exclusive) ? a : b;
}

function mergedStrings(all: Conjunction["strings"], keywords: Keywords, path: string): Conjunction["strings"] {
  const parts = [...all.parts];
  const add = (kind: StringPart["kind"], text: string, negated = false) => {
    if (!parts.some((part) => part.kind === kind && part.text === text && part.negated === negated)) {
      parts.push({ kind, text, negated });
    }
  };
  const [pattern, format] = [keywords.get("pattern"), keywords.get("format")];
  if (pattern !== undefined) {
    if (typeof pattern !== "string") throw badSchema(path, "pattern must be a string");
    add("pattern", pattern);
  }
  if (format !== undefined && typeof format !== "string") throw badSchema(path, "format must be a string");
  if (format !== undefined && stringFormats.has(format)) add("format", format);
  const negated = keywords.get(notPattern);
  if (typeof negated === "string") add("pattern", negated, true);
  return {
    parts,
    min: Math.max(all.min, countAt(keywords, "minLength", path, 0)),
    max: Math.min(all.max, countAt(keywords, "maxLength", path, Infinity)),
  };
}

function mergedProperties(all: Conjunction, keywords: Keywords, path: string) {
  const named = new Map<string, Located>(
    entriesOf(objectAt(keywords, "properties", path)).map(([name, schema]) => [
      name,
      { schema, path: `${path}/properties/${name}` },
    ]),
  );
  const patterns = entriesOf(objectAt(keywords, "patternProperties", path)).map(([source, schema]) => ({
    source,
    value: { schema, path: `${path}/patternProperties/${source}` },
  }));
  const at = (name: string): Located | null =>
    keywords.has(name) ? { schema: keywords.get(name), path: `${path}/${name}` } : null;
  const additional = at("additionalProperties");
  const saysSomething = named.size > 0 || patterns.length > 0 || additional !== null;
  const [names, unevaluated] = [at("propertyNames"), at("unevaluatedProperties")];
  return {
    properties: saysSomething ? [...all.properties, { named, patterns, additional }] : all.properties,
    required: new Set([...all.required, ...namesAt(keywords, "required", path)]),
    propertyNames: names === null ? all.propertyNames : [...all.propertyNames, names],
    propertyCount: {
      min: Math.max(all.propertyCount.min, countAt(keywords, "minProperties", path, 0)),
      max: Math.min(all.propertyCount.max, countAt(keywords, "maxProperties", path, Infinity)),
    },
    unevaluated: unevaluated === null ? all.unevaluated : [...all.unevaluated, unevaluated],
  };
}

function mergedItems(all: Conjunction, keywords: Keywords, path: string) {
  const items = keywords.get("items");
  // Before 2020-12 a list of items was what prefixItems is now.
  const first = ["prefixItems", ...(Array.isArray(items) ? ["items"] : [])].flatMap((name) =>
    keywords.has(name) && !(name === "items" && (items as unknown[]).length === 0)
      ? schemasAt(keywords, name, path)
      : [],
  );
  const restName = Array.isArray(items) ? "additionalItems" : "items";
  const rest = keywords.has(restName) ? { schema: keywords.get(restName), path: `${path}/${restName}` } : null;
  const unique = keywords.get("uniqueItems") ?? false;
  if (typeof unique !== "boolean") throw badSchema(path, "uniqueItems must be true or false");
  const contains = keywords.has("contains")
    ? [
        {
          item: { schema: keywords.get("contains"), path: `${path}/contains` },
          min: countAt(keywords, "minContains", path, 1),
        },
      ]
    : [];
  return {
    items: first.length > 0 || rest !== null ? [...all.items, { first, rest }] : all.items,
    itemCount: {
      min: Math.max(all.itemCount.min, countAt(keywords, "minItems", path, 0)),
      max: Math.min(all.itemCount.max, countAt(keywords, "maxItems", path, Infinity)),
    },
    isUnique: all.isUnique || unique,
    contains: [...all.contains, ...contains],
  };
}

/** The types that are left: those asked for, or else those that the keywords are about, or else all. */
export function typesLeft({ types, about, constants }: Conjunction): readonly JsonType[] {
  if (constants !== null) return [...new Set(constants.map(typeOf))];
  return types ?? (about.length > 0 ? about : allTypes);
}
