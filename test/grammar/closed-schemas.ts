/**
 * Schemas whose values are exactly the texts that are accepted: closed objects, written compactly and in the schema's order.
 * With none of the choices that src/grammar/README.md lists, every value is either of both or of neither.
 */
export const closedSchemas: readonly (readonly [name: string, schema: object])[] = [
  ["any string", { type: "string" }],
  ["lengths", { type: "string", minLength: 1, maxLength: 4 }],
  ["a pattern", { type: "string", pattern: "^[a-c]+-\\d{2}$" }],
  ["a pattern anywhere, and a length", { type: "string", pattern: "b", maxLength: 5 }],
  ["a date", { type: "string", format: "date" }],
  ["an address", { type: "string", format: "ipv4" }],
  ["an id", { type: "string", format: "uuid" }],
  ["an integer", { type: "integer" }],
  ["a range", { type: "integer", minimum: -12, exclusiveMaximum: 105 }],
  ["real bounds", { type: "number", exclusiveMinimum: -0.5, maximum: 2.25 }],
  ["multiples", { type: "integer", multipleOf: 3, minimum: 0, maximum: 60 }],
  ["decimal multiples", { type: "number", multipleOf: 0.25, minimum: -3, maximum: 3 }],
  ["an enum of several types", { enum: ["a", "ab", 1, 2.5, null, true, [1], { a: 1 }] }],
  ["a const", { const: { a: [1, "x"] } }],
  ["types", { type: ["integer", "null", "boolean"] }],
  ["a list", { type: "array", items: { type: "integer" } }],
  ["lengths of lists", { type: "array", items: { type: "boolean" }, minItems: 1, maxItems: 3 }],
  ["first items", { type: "array", prefixItems: [{ type: "integer" }, { const: "x" }], items: false }],
  ["first items and more", { type: "array", prefixItems: [{ type: "null" }], items: { type: "integer" }, minItems: 2 }],
  ["different items", { type: "array", items: { type: "integer", minimum: 0, maximum: 9 }, uniqueItems: true }],
  ["an item that is there", { type: "array", items: { type: "integer" }, contains: { const: 7 } }],
  [
    "as many items as are asked for of what must be there",
    { type: "array", items: { enum: [1, 2] }, contains: { const: 2 }, minContains: 2, minItems: 2 },
  ],
  ["two items that are there", { type: "array", items: { enum: [1, 2] }, contains: { const: 2 }, minContains: 2 }],
  [
    "an object",
    {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "string", maxLength: 3 }, c: { type: "null" } },
      required: ["b"],
      additionalProperties: false,
    },
  ],
  ["others of a type", { type: "object", properties: { a: { const: 1 } }, additionalProperties: { type: "boolean" } }],
  [
    "names of a pattern",
    { type: "object", patternProperties: { "^n": { type: "integer" } }, additionalProperties: false },
  ],
  [
    "numbers of properties",
    {
      type: "object",
      properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } },
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 2,
    },
  ],
  [
    "a property that asks for another",
    {
      type: "object",
      properties: { card: { type: "integer" }, address: { type: "string" } },
      additionalProperties: false,
      dependentRequired: { card: ["address"] },
    },
  ],
  [
    "an optional value",
    {
      type: "object",
      properties: { a: { anyOf: [{ type: "integer", minimum: 1 }, { type: "null" }] } },
      required: ["a"],
      additionalProperties: false,
    },
  ],
  ["a union of types", { anyOf: [{ type: "integer" }, { type: "array", items: { type: "null" } }] }],
  [
    "a range or another",
    {
      oneOf: [
        { type: "integer", maximum: 3 },
        { type: "integer", minimum: 8 },
      ],
    },
  ],
  [
    "ranges that overlap",
    {
      oneOf: [
        { type: "integer", maximum: 5 },
        { type: "integer", minimum: 3 },
      ],
    },
  ],
  [
    "both bounds",
    {
      allOf: [
        { type: "integer", minimum: 3 },
        { type: "integer", maximum: 9 },
      ],
    },
  ],
  ["a value that is not", { type: "integer", not: { enum: [0, 1, 2] } }],
  ["a string that is not", { type: "string", maxLength: 3, not: { pattern: "b" } }],
  [
    "kinds of objects",
    {
      oneOf: ["circle", "square"].map((kind, i) => ({
        type: "object",
        properties: { kind: { const: kind }, [["radius", "side"][i]!]: { type: "number", minimum: 0 } },
        required: ["kind", ["radius", "side"][i]!],
        additionalProperties: false,
      })),
    },
  ],
  [
    "a property that decides",
    {
      type: "object",
      properties: { kind: { enum: ["a", "b"] }, size: { type: "integer" } },
      required: ["kind", "size"],
      additionalProperties: false,
      ...JSON.parse('{"if":{"properties":{"kind":{"const":"a"}}},"then":{"properties":{"size":{"minimum":10}}}}'),
      else: { properties: { size: { maximum: 5 } } },
    },
  ],
  [
    "a tree",
    {
      $ref: "#/$defs/node",
      $defs: {
        node: {
          type: "object",
          properties: { v: { type: "integer" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
          required: ["v", "next"],
          additionalProperties: false,
        },
      },
    },
  ],
  [
    "lists of objects",
    {
      type: "array",
      maxItems: 3,
      items: {
        type: "object",
        properties: { id: { type: "integer", minimum: 0 }, tags: { type: "array", items: { enum: ["x", "y"] } } },
        required: ["id"],
        additionalProperties: false,
      },
    },
  ],
];
