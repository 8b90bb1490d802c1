import fc from "fast-check";

const small = fc.integer({ min: -20, max: 20 });
const between = (low: string, high: string, values: fc.Arbitrary<number>) =>
  fc.tuple(values, values).map(([a, b]) => ({ [low]: Math.min(a, b), [high]: Math.max(a, b) }));
const names = fc.constantFrom("a", "name", "na", 'quote"', "é", "constructor", "日本", "x y");
/** ajv compares by calling these where a value has them. */
const called = /"(toString|valueOf|constructor)":/;
const constants = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }).filter((value) => !called.test(JSON.stringify(value))),
  fc.constantFrom("red", "green", 1, 1.5, null, true),
);

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
    fc.constantFrom("date", "time", "date-time", "uuid", "ipv4", "email").map((format) => ({ type: "string", format })),
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
      additionalProperties: fc.oneof(fc.constantFrom(undefined, true), tie("schema")),
    })
    .map((keywords) => JSON.parse(JSON.stringify({ type: "object", ...keywords }))),
  array: fc
    .record(
      {
        prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }),
        items: tie("schema"),
        bounds: between("minItems", "maxItems", fc.nat(4)),
      },
      { requiredKeys: ["bounds"] },
    )
    .map(({ bounds, ...keywords }) => ({ type: "array", ...keywords, ...bounds })),
}));
