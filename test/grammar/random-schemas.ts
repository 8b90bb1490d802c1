import fc from "fast-check";

const small = fc.integer({ min: -20, max: 20 });
const between = (low: string, high: string, values: fc.Arbitrary<number>) =>
  fc.tuple(values, values).map(([a, b]) => ({ [low]: Math.min(a, b), [high]: Math.max(a, b) }));
const names = fc.constantFrom("a", "name", "na", 'quote"', "é", "constructor", "日本", "x y");
/** ajv compares by calling these where a value has them, and takes tiny numbers for multiples of anything. */
const called = /"(toString|valueOf|constructor)":|\de-\d/;
const constants = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }).filter((value) => !called.test(JSON.stringify(value))),
  fc.constantFrom("red", "green", 1, 1.5, null, true),
);

const formats = [
  "date",
  "time",
  "date-time",
  "duration",
  "uuid",
  "ipv4",
  "ipv6",
  "hostname",
  "email",
  "uri",
  "json-pointer",
];
const patterns = ["^[a-c]{2,4}$", "b+", "^é|x$", '"\\\\', "^\\s$", "[^a]{3}", "^(?!ab)[a-d]+$", "^(?=.*c).{2,}$"];

/** Two or three keywords of a string at once. */
const string = fc
  .record(
    {
      format: fc.constantFrom(...formats, "unknown"),
      pattern: fc.constantFrom(...patterns, "[0-9]", "^[^:]*$", "."),
      lengths: fc.tuple(fc.nat(8), fc.nat(30)).map(([min, more]) => ({ minLength: min, maxLength: min + more })),
    },
    { requiredKeys: [] },
  )
  .map(({ lengths, ...keywords }) => ({ type: "string", ...keywords, ...lengths }));

/** Bounds and divisors of a number at once. */
const number = fc
  .record(
    {
      type: fc.constantFrom("number", "integer"),
      multipleOf: fc.constantFrom(1, 2, 3, 7, 10, 60, 0.5, 0.25, 2.5),
      minimum: small.map((value) => value / 4),
      exclusiveMaximum: fc.integer({ min: 6, max: 900 }).map((value) => value / 4),
    },
    { requiredKeys: ["type"] },
  )
  .map((keywords) => keywords as object);

/** Schemas of the supported keywords that some value satisfies. */
export const { schema } = fc.letrec<{ schema: unknown; object: unknown; array: unknown }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthIdentifier: "schema" },
    fc.constantFrom<unknown>(
      { type: "string" },
      { type: "integer" },
      { type: "number" },
      { type: "boolean" },
      { type: "null" },
      {},
      true,
    ),
    fc.tuple(fc.nat(3), fc.nat(6)).map(([min, more]) => ({ type: "string", minLength: min, maxLength: min + more })),
    fc
      .constantFrom("^[a-c]{2,4}$", "b+", "^é|x$", '"\\\\', "^\\s$", "[^a]{3}")
      .map((pattern) => ({ type: "string", pattern })),
    string,
    number,
    between("minimum", "maximum", small).map((bounds) => ({ type: "integer", ...bounds })),
    between("minimum", "maximum", fc.integer()).map((bounds) => ({ type: "integer", ...bounds })),
    between(
      "minimum",
      "maximum",
      small.map((value) => value / 8),
    ).map((bounds) => ({ type: "number", ...bounds })),
    small.map((value) => ({ type: "number", exclusiveMinimum: value / 4, exclusiveMaximum: value / 4 + 0.5 })),
    fc.array(constants, { minLength: 1, maxLength: 4 }).map((values) => ({ enum: values })),
    constants.map((value) => ({ const: value })),
    fc
      .uniqueArray(fc.constantFrom("string", "integer", "null", "boolean", "array", "object"), {
        minLength: 1,
        maxLength: 3,
      })
      .map((type) => ({ type })),
    fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((options) => ({ anyOf: options })),
    fc.tuple(tie("schema"), tie("schema")).map((both) => ({ allOf: both })),
    fc.array(tie("schema"), { minLength: 2, maxLength: 3 }).map((options) => ({ oneOf: options })),
    fc.tuple(tie("schema"), tie("schema")).map(([not, type]) => ({ allOf: [type, { not }] })),
    fc
      .tuple(tie("object"), tie("schema"), tie("object"), tie("object"))
      .map(([base, test, then, otherwise]) => ({ ...(base as object), if: test, then, else: otherwise })),
    fc
      .tuple(tie("object"), tie("object"))
      .map((both) => ({ allOf: both.map((one) => ({ ...(one as object), additionalProperties: true })) })),
    tie("object"),
    tie("array"),
  ),
  object: fc
    .record({
      properties: fc.dictionary(names, tie("schema"), { maxKeys: 4 }),
      required: fc.uniqueArray(names, { maxLength: 2 }),
      additionalProperties: fc.oneof(fc.constantFrom(undefined, true, false), tie("schema")),
      more: fc.oneof(
        fc.constant({}),
        fc.nat(3).map((count) => ({ minProperties: count })),
        fc.nat(3).map((count) => ({ maxProperties: count + 1 })),
        fc
          .tuple(fc.constantFrom("^n", "a$", "b"), tie("schema"))
          .map(([source, of]) => ({ patternProperties: { [source]: of } })),
        fc
          .constantFrom({ maxLength: 3 }, { pattern: "^[a-n]" }, { enum: ["a", "na", "é"] })
          .map((of) => ({ propertyNames: of })),
        fc.tuple(names, names).map(([name, other]) => ({ dependentRequired: { [name]: [other] } })),
        fc.tuple(names, tie("object")).map(([name, of]) => ({ dependentSchemas: { [name]: of } })),
      ),
    })
    .map(({ more, ...keywords }) => JSON.parse(JSON.stringify({ type: "object", ...keywords, ...more }))),
  array: fc
    .record(
      {
        prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }),
        items: tie("schema"),
        bounds: between("minItems", "maxItems", fc.nat(4)),
        uniqueItems: fc.boolean(),
      },
      { requiredKeys: ["bounds"] },
    )
    .map(({ bounds, ...keywords }) => ({ type: "array", ...keywords, ...bounds })),
}));
