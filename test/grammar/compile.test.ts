import { type Constraint, compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { accepts, asciiOnly, crossing, randomText, vocabularyOf } from "./walks";

const schemaOf = (schema: unknown) => compileConstraint({ kind: "json_schema", schema: schema as object }, crossing);

function nested(depth: number, wrap: (inner: unknown) => unknown): unknown {
  let schema: unknown = { type: "null" };
  for (let i = 0; i < depth; i++) schema = wrap(schema);
  return schema;
}

const named = (count: number, of: unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`property${i}`, of]));
/** Twice as many at each step: 2^depth if it was written out. With `different`, no two of a step are the same. */
const doubling = (keyword: string, depth: number, different = false) => ({
  $ref: "#/$defs/d0",
  $defs: Object.fromEntries(
    Array.from({ length: depth }, (_, i) => {
      const next = { $ref: `#/$defs/d${i + 1}` };
      const other = different ? { [keyword]: [next, next, { maximum: 10 + i }] } : next;
      return [`d${i}`, i + 1 < depth ? { [keyword]: [next, other] } : { type: "integer" }];
    }),
  ),
});

const ways = (count: number) => ({
  anyOf: Array.from({ length: count }, (_, i) => ({ $ref: `#/$defs/${i}` })),
  $defs: Array.from({ length: count }, (_, i) => ({ properties: { a: {}, [`b${i}`]: {} } })),
});

/** Objects of optional texts, open to others: one holds alone where each of the others has a property of another type. */
const alike = (options: number, properties: number) =>
  Array.from({ length: options }, (_, i) => ({
    type: "object",
    properties: Object.fromEntries(Array.from({ length: properties }, (_, j) => [`o${i}_${j}`, { type: "string" }])),
    additionalProperties: true,
  }));

/** Each level of nesting multiplies the ways. */
const unions = (count: number) => ({
  anyOf: Array.from({ length: count }, (_, i) => ({ items: { $ref: `#/$defs/${i}` } })),
  $defs: Array.from({ length: count }, (_, i) => ({
    anyOf: [
      ...Array.from({ length: count }, (_, j) => ({ items: { $ref: `#/$defs/${(i + j) % count}` }, minItems: j % 3 })),
      { type: "null" },
    ],
  })),
});

test.each<[name: string, schema: unknown, message: string]>([
  ["no schema", undefined, "holds undefined"],
  ["a text", "string", "expected a schema, an object"],
  ["a list", [], "expected a schema, an object"],
  ["null", null, "expected a schema, an object"],
  ["false", false, "false allows no value"],
  ["an unknown type", { type: "foo" }, "type must be among"],
  ["an inherited type", { type: "constructor" }, "type must be among"],
  ["no type of a list", { type: [] }, "type must be among"],
  ["a keyword", { maxContains: 1 }, '#: the keyword "maxContains" is not supported'],
  ["a keyword within", { properties: { a: { $dynamicRef: "#a" } } }, '#/properties/a: the keyword "$dynamicRef"'],
  ["not anything", { not: {} }, "no value satisfies"],
  ["a misspelled keyword", { propertys: {} }, '"propertys" is not supported; "properties" is'],
  ["a keyword in another case", { additionalproperties: false }, '"additionalProperties" is'],
  ["multiples of nothing", { multipleOf: 0 }, "multipleOf must be above 0"],
  ["multiples of too much", { multipleOf: 999_983 }, "too many remainders"],
  [
    "more different items than there are",
    { uniqueItems: true, items: { type: "boolean" }, minItems: 3 },
    "more different",
  ],
  [
    "a property that asks for more different items than there are",
    {
      type: "object",
      properties: { a: { type: "array", items: { type: "null" }, uniqueItems: true, minItems: 2 } },
      required: ["a"],
    },
    "more different",
  ],
  [
    "lists of lists without enough different items",
    {
      type: "array",
      items: { type: "array", items: { type: "null" }, uniqueItems: true, minItems: 2 },
      minItems: 1,
    },
    "more different",
  ],
  ["more names than there are", { propertyNames: { enum: ["a"] }, minProperties: 2 }, "minProperties is 2"],
  [
    "an unknown name",
    { propertyNames: { maxLength: 1 }, required: ["ab"] },
    'required names "ab", which propertyNames',
  ],
  ["properties of another kind", { properties: [] }, "properties must be an object"],
  ["required of another kind", { required: "a" }, "required must be a list of names"],
  ["a forbidden required name", { required: ["a"], additionalProperties: false }, "which additionalProperties forbids"],
  ["a negative length", { minLength: -1 }, "minLength must be an integer of at least 0"],
  ["a real length", { maxLength: 1.5 }, "maxLength must be an integer"],
  ["lengths out of order", { minLength: 3, maxLength: 2 }, "maxLength 2 is less than minLength 3"],
  ["too many items", { prefixItems: [{}], items: false, minItems: 2 }, "at most 1 items are allowed"],
  ["items that must be there and cannot", { items: {}, minItems: 1e9 }, "too large once repeated parts"],
  ["a bad pattern", { pattern: "(" }, "Unterminated group at 1"],
  ["a pattern of another kind", { pattern: 3 }, "pattern must be a string"],
  ["a huge pattern", { pattern: "(a{1,1000}){1,1000}" }, "too large once repeated parts"],
  ["a pattern and a length", { pattern: "^a{4}", maxLength: 3 }, "no string has such a pattern, format and length"],
  ["a pattern and a format", { pattern: "^x", format: "date" }, "no string has such a pattern, format and length"],
  ["a format of another kind", { type: "string", format: 1 }, "format must be a string"],
  ["bounds that meet nowhere", { type: "integer", minimum: 3, maximum: 2 }, "no integer"],
  ["no integer between", { type: "integer", exclusiveMinimum: 3, exclusiveMaximum: 4 }, "no integer"],
  ["a bound too far", { type: "integer", minimum: 1e300 }, "no integer"],
  ["a boolean bound", { type: "integer", exclusiveMinimum: true }, "exclusiveMinimum must be a number"],
  ["an endless number", { const: Number.NaN }, "NaN, which is no JSON value"],
  ["an endless number in a list", { enum: [1, Number.POSITIVE_INFINITY] }, "Infinity"],
  ["an empty enum", { enum: [] }, "a list that is not empty"],
  ["an enum of another type", { type: "string", enum: [1, 2] }, "is what is asked for besides"],
  ["a bound beside an enum", { enum: [1, 2], minimum: 3 }, "is what is asked for besides"],
  ["an empty union", { anyOf: [] }, "a list that is not empty"],
  ["a contradiction", { allOf: [{ type: "string" }, { type: "integer" }] }, "no value satisfies"],
  ["two patterns", { allOf: [{ pattern: "^a" }, { pattern: "^b" }] }, "no string has"],
  [
    "a closed object and another property",
    { allOf: [{ additionalProperties: false }, { properties: { a: {} }, required: ["a"] }] },
    'required names "a", which additionalProperties forbids',
  ],
  ["a reference to itself", { $ref: "#" }, "no text that ends"],
  [
    "a circle of references",
    { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } },
    "no text that ends",
  ],
  ["a combination with itself", { allOf: [{ $ref: "#" }], type: "object" }, "combined with itself"],
  ["a value without an end", { properties: { next: { $ref: "#" } }, required: ["next"] }, "no text that ends"],
  ["a reference to nothing", { $ref: "#/$defs/a" }, "points to nothing"],
  ["an inherited reference", { $ref: "#/constructor" }, "points to nothing"],
  ["a reference to no schema", { $ref: "#/title", title: "x" }, "expected a schema"],
  ["a reference elsewhere", { $ref: "https://example.com/schema.json" }, "must point into this schema"],
  ["a reference of another kind", { $ref: 1 }, "must point into this schema"],
  ["nesting", nested(500, (inner) => ({ type: "array", items: inner })), "nested deeper than 64"],
  ["nesting far beyond the stack", nested(200_000, (inner) => ({ items: inner })), "nested deeper than 64"],
  ["50,000 values", { enum: Array.from({ length: 50_000 }, (_, i) => i) }, "bytes; at most 262144"],
  ["1,001 values", { enum: Array.from({ length: 1001 }, (_, i) => i) }, "at most 1000 are allowed"],
  ["a million values", { enum: Array.from({ length: 1_000_000 }, (_, i) => i) }, "over 262144 values"],
  ["a long name", { properties: { ["a".repeat(257)]: {} } }, "at most 256 characters"],
  ["a long text", { const: "a".repeat(270_000) }, "bytes; at most 262144"],
  [
    "ways that double",
    { allOf: Array.from({ length: 12 }, (_, i) => ({ anyOf: [{ minimum: i }, { type: "null" }, {}] })) },
    "ways",
  ],
  ["3,000 optional properties", { properties: named(3000, {}) }, "too large once repeated parts"],
  ["700 optional properties", { properties: named(700, {}) }, "takes too long to compile"],
])("refuses %s", (_, schema, message) => {
  expect(() => schemaOf(schema)).toThrow(
    expect.objectContaining({ code: "ERR_REQUEST", subject: "json_schema", message: expect.stringContaining(message) }),
  );
  expect(accepts(crossing, schemaOf({ type: "integer" }), "1")).toBe(true);
});

test.each<[name: string, schema: unknown, text: string]>([
  ["64 levels", nested(31, (inner) => ({ properties: { a: inner }, required: ["a"] })), ""],
  ["references that double", doubling("anyOf", 30), "7"],
  ["equal combinations that double", doubling("allOf", 30), "7"],
  ["combinations that double", doubling("allOf", 24, true), "7"],
  ["1,000 values", { enum: Array.from({ length: 1000 }, (_, i) => `value ${i}`) }, '"value 999"'],
  ["300 required properties", { properties: named(300, { const: 1 }), required: Object.keys(named(300, 0)) }, ""],
  ["100 optional properties", { properties: named(100, { type: "string" }) }, '{"property99":""}'],
  ["50 ways to read an object", ways(50), '{"a":1,"b5":2}'],
  ["more ways than are followed", ways(200), ""],
  ["unions of unions of lists", unions(10), "[[null]]"],
  [
    "lists that can be read in many ways",
    { anyOf: [{ items: { $ref: "#" } }, { items: { anyOf: [{ $ref: "#" }, { type: "null" }] } }] },
    "[[[[]]]]",
  ],
  ["options of many properties that could all hold", { oneOf: alike(4, 12) }, '{"o0_0":"","o1_0":1,"o2_0":1,"o3_0":1}'],
  ["a schema of 200 KiB", { type: "integer", description: "x".repeat(200_000) }, "7"],
  ["huge lengths", { type: "string", minLength: 0, maxLength: 1e9 }, '"a"'],
  ["a pattern that makes others backtrack", { type: "string", pattern: "^(a|aa)+$" }, `"${"a".repeat(2000)}"`],
])("compiles %s, and what is made of it ends", (_, schema, text) => {
  const constraint = schemaOf(schema);
  if (text !== "") expect(accepts(crossing, constraint, text)).toBe(true);
  JSON.parse(randomText(crossing, constraint, new Rng(2)));
});

test("of choices the text is one, whole", () => {
  const constraint = compileConstraint({ kind: "choice", choices: ["a", "ab", "日本", "b c"] }, crossing);
  const texts = ["a", "ab", "日本", "b c", "b", "abc", "日", ""];
  expect(texts.filter((text) => accepts(crossing, constraint, text))).toEqual(texts.slice(0, 4));
});

test.each<[constraint: unknown, message: string]>([
  [{ kind: "choice", choices: [] }, "a list of texts that is not empty"],
  [{ kind: "choice", choices: ["a", 1] }, "a list of texts"],
  [{ kind: "choice", choices: "a" }, "a list of texts"],
  [{ kind: "choice", choices: ["\ud800"] }, "a list of texts"],
  [{ kind: "choice", choices: Array.from({ length: 1001 }, String) }, "at most 1000"],
  [{ kind: "choice", choices: ["a".repeat(70_000)] }, "bytes; at most 65536"],
  [{ kind: "regex", pattern: 1 }, "regex must be a string"],
  [{ kind: "regex" }, "regex must be a string"],
])("refuses %j", (constraint, message) => {
  expect(() => compileConstraint(constraint as Constraint, crossing)).toThrow(
    expect.objectContaining({ code: "ERR_REQUEST", message: expect.stringContaining(message) }),
  );
});

test("what the vocabulary cannot write is refused, or left out where there is another way", () => {
  const bare = vocabularyOf(["{}"], []);
  expect(() => compileConstraint({ kind: "choice", choices: ["no"] }, bare)).toThrow("the model's tokens");
  expect(() => compileConstraint({ kind: "json_object" }, bare)).toThrow("the model's tokens");
  const schema = { enum: ["x", "é", "ü", "ab日"] };
  const constraint = compileConstraint({ kind: "json_schema", schema }, asciiOnly);
  const rng = new Rng(1);
  const texts = new Set(Array.from({ length: 30 }, () => randomText(asciiOnly, constraint, rng).trim()));
  expect([...texts].sort()).toEqual(['"x"', '"é"']);
});
