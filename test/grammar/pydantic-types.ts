/** JSON schemas as Pydantic 2 writes them for a model's field (mode "validation"), with values that are and are not. */
const nested = {
  $defs: {
    Address: {
      properties: {
        street: { title: "Street", type: "string" },
        zip: { pattern: "^\\d{5}$", title: "Zip", type: "string" },
      },
      required: ["street", "zip"],
      title: "Address",
      type: "object",
    },
  },
};
const cat = {
  properties: {
    pet_type: { const: "cat", title: "Pet Type", type: "string" },
    meows: { title: "Meows", type: "integer" },
  },
  required: ["pet_type", "meows"],
  title: "Cat",
  type: "object",
};
const dog = {
  properties: {
    pet_type: { const: "dog", title: "Pet Type", type: "string" },
    barks: { title: "Barks", type: "number" },
  },
  required: ["pet_type", "barks"],
  title: "Dog",
  type: "object",
};

export const pydanticTypes: readonly (readonly [
  type: string,
  schema: object,
  yes: readonly string[],
  no: readonly string[],
])[] = [
  ["str", { title: "A", type: "string" }, ['"x"'], ["1"]],
  [
    "constr",
    { maxLength: 3, minLength: 1, pattern: "^[a-z]*$", title: "A", type: "string" },
    ['"abc"'],
    ['""', '"abcd"', '"A"'],
  ],
  ["int with bounds", { exclusiveMinimum: 0, maximum: 130, title: "Age", type: "integer" }, ["1", "130"], ["0", "131"]],
  [
    "confloat",
    { exclusiveMaximum: 1.0, minimum: 0.0, multipleOf: 0.01, title: "A", type: "number" },
    ["0", "0.25", "0.9"],
    ["1", "0.255"],
  ],
  ["bool", { default: false, title: "A", type: "boolean" }, ["true"], ["1"]],
  ["bytes", { format: "binary", title: "A", type: "string" }, ['"ab"'], ["1"]],
  ["Base64Bytes", { format: "base64", title: "A", type: "string" }, ['"aGk="'], ['"a"']],
  [
    "Optional[str] = None",
    { anyOf: [{ type: "string" }, { type: "null" }], default: null, title: "A" },
    ["null", '"x"'],
    ["1"],
  ],
  ["Union[int, str]", { anyOf: [{ type: "integer" }, { type: "string" }], title: "A" }, ["1", '"1"'], ["1.5"]],
  ["Literal", { enum: ["a", 1, null], title: "A" }, ['"a"', "1", "null"], ["2"]],
  [
    "Enum",
    { $defs: { Color: { enum: ["red", "green"], title: "Color", type: "string" } }, $ref: "#/$defs/Color" },
    ['"red"'],
    ['"blue"'],
  ],
  [
    "Enum with a default",
    {
      $defs: { Color: { enum: ["red", "green"], title: "Color", type: "string" } },
      allOf: [{ $ref: "#/$defs/Color" }],
      default: "red",
    },
    ['"red"'],
    ['"blue"'],
  ],
  [
    "Decimal",
    { anyOf: [{ type: "number" }, { pattern: "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", type: "string" }], title: "A" },
    ["1.5", '"1.50"', '"-.5"', '"+7"'],
    ['"-"', '"."', '"1e5"'],
  ],
  [
    "condecimal",
    {
      anyOf: [
        { exclusiveMinimum: 0.0, type: "number" },
        { pattern: "^(?!^[-+.]*$)[+-]?0*(?:\\d{0,3}|(?=[\\d.]{1,6}0*$)\\d{0,3}\\.\\d{0,2}0*$)", type: "string" },
      ],
      title: "A",
    },
    ["0.01", '"12.50"', '"999"'],
    ["0", '"."'],
  ],
  [
    "datetime",
    { format: "date-time", title: "A", type: "string" },
    ['"2024-05-06T07:08:09Z"', '"2024-05-06T07:08:09.123456+02:00"'],
    ['"2024-05-06"'],
  ],
  ["date", { format: "date", title: "A", type: "string" }, ['"2024-02-29"'], ['"2023-02-29"']],
  ["time", { format: "time", title: "A", type: "string" }, ['"07:08:09Z"'], ['"25:00:00Z"']],
  ["timedelta", { format: "duration", title: "A", type: "string" }, ['"P1DT2H"', '"PT30S"'], ['"1 day"', '"P"']],
  ["UUID4", { format: "uuid4", title: "A", type: "string" }, ['"x"'], ["1"]],
  ["UUID", { format: "uuid", title: "A", type: "string" }, ['"0b6f7a3c-1d2e-4f50-8a9b-0123456789ab"'], ['"x"']],
  ["IPv4Address", { format: "ipv4", title: "A", type: "string" }, ['"127.0.0.1"'], ['"1.2.3"']],
  ["IPv6Address", { format: "ipv6", title: "A", type: "string" }, ['"fe80::1"'], ['"fe80"']],
  ["IPvAnyAddress", { format: "ipvanyaddress", title: "A", type: "string" }, ['"::1"'], ["1"]],
  ["AnyUrl", { format: "uri", minLength: 1, title: "A", type: "string" }, ['"ftp://example.org/x"'], ['"x"']],
  [
    "HttpUrl",
    { format: "uri", maxLength: 2083, minLength: 1, title: "A", type: "string" },
    ['"https://example.org"'],
    ['""'],
  ],
  ["EmailStr", { format: "email", title: "A", type: "string" }, ['"a.b@example.org"'], ['"a.b"']],
  ["Path", { format: "path", title: "A", type: "string" }, ['"/tmp/x"'], ["1"]],
  ["SecretStr", { format: "password", title: "A", type: "string", writeOnly: true }, ['"x"'], ["1"]],
  ["Json", { contentMediaType: "application/json", contentSchema: {}, title: "A", type: "string" }, ['"{}"'], ["{}"]],
  ["Any", { title: "A" }, ["1", "{}"], ["x"]],
  ["list[int]", { items: { type: "integer" }, title: "A", type: "array" }, ["[]", "[1,2]"], ["[1.5]"]],
  [
    "conlist",
    { items: { type: "string" }, maxItems: 2, minItems: 1, title: "A", type: "array" },
    ['["a"]'],
    ["[]", '["a","b","c"]'],
  ],
  [
    "set[int]",
    { items: { type: "integer" }, title: "A", type: "array", uniqueItems: true },
    ["[]", "[1,2]"],
    ["[1,1]", "[1,2,1]"],
  ],
  [
    "set[Enum]",
    { items: { enum: ["a", "b", "c"], type: "string" }, minItems: 2, title: "A", type: "array", uniqueItems: true },
    ['["c","a"]'],
    ['["a"]', '["a","a"]'],
  ],
  [
    "tuple[int, str]",
    { maxItems: 2, minItems: 2, prefixItems: [{ type: "integer" }, { type: "string" }], title: "A", type: "array" },
    ['[1,"a"]'],
    ["[1]", "[1,2]"],
  ],
  [
    "dict[str, float]",
    { additionalProperties: { type: "number" }, title: "A", type: "object" },
    ['{"a":1.5}'],
    ['{"a":"x"}'],
  ],
  [
    "dict[Literal, int]",
    { additionalProperties: { type: "integer" }, propertyNames: { enum: ["x", "y"] }, title: "A", type: "object" },
    ['{"y":1}'],
    ['{"z":1}'],
  ],
  [
    "dict[constr, int]",
    { patternProperties: { "^[a-z]+$": { type: "integer" } }, title: "A", type: "object" },
    ['{"ab":1}'],
    ['{"A":1}', '{"ab":""}'],
  ],
  [
    "dict with a size",
    { additionalProperties: { type: "integer" }, maxProperties: 3, minProperties: 2, title: "A", type: "object" },
    ['{"a":1,"b":2}'],
    ['{"a":1}', '{"a":1,"a":2}', '{"a":1,"b":2,"c":3,"d":4}'],
  ],
  [
    "nested model",
    {
      ...nested,
      properties: { name: { title: "Name", type: "string" }, address: { $ref: "#/$defs/Address" } },
      required: ["name", "address"],
      title: "Person",
      type: "object",
    },
    ['{"name":"a","address":{"street":"b","zip":"12345"}}'],
    ['{"name":"a","address":{"street":"b","zip":"1"}}'],
  ],
  [
    "Optional[Model]",
    {
      ...nested,
      properties: { address: { anyOf: [{ $ref: "#/$defs/Address" }, { type: "null" }], default: null } },
      title: "Person",
      type: "object",
    },
    ["{}", '{"address":null}', '{"address":{"street":"b","zip":"12345"}}'],
    ['{"address":1}'],
  ],
  [
    "extra = forbid",
    {
      additionalProperties: false,
      properties: { a: { title: "A", type: "integer" } },
      required: ["a"],
      title: "M",
      type: "object",
    },
    ['{"a":1}'],
    ['{"a":1,"b":2}'],
  ],
  [
    "extra = allow",
    {
      additionalProperties: true,
      properties: { a: { title: "A", type: "integer" } },
      required: ["a"],
      title: "M",
      type: "object",
    },
    ['{"a":1,"b":2}'],
    ["{}"],
  ],
  [
    "discriminated union",
    {
      $defs: { Cat: cat, Dog: dog },
      discriminator: { mapping: { cat: "#/$defs/Cat", dog: "#/$defs/Dog" }, propertyName: "pet_type" },
      oneOf: [{ $ref: "#/$defs/Cat" }, { $ref: "#/$defs/Dog" }],
      title: "Pet",
    },
    ['{"pet_type":"cat","meows":1}', '{"pet_type":"dog","barks":0.5}'],
    ['{"pet_type":"cat","barks":1}', '{"pet_type":"bird"}'],
  ],
  [
    "recursive model",
    {
      $defs: {
        Node: {
          properties: {
            value: { title: "Value", type: "integer" },
            next: { anyOf: [{ $ref: "#/$defs/Node" }, { type: "null" }], default: null },
          },
          required: ["value"],
          title: "Node",
          type: "object",
        },
      },
      $ref: "#/$defs/Node",
    },
    ['{"value":1,"next":{"value":2,"next":null}}', '{"value":1}'],
    ['{"next":null}'],
  ],
  [
    "NamedTuple",
    {
      maxItems: 2,
      minItems: 2,
      prefixItems: [
        { title: "X", type: "integer" },
        { title: "Y", type: "integer" },
      ],
      type: "array",
    },
    ["[1,2]"],
    ["[1]"],
  ],
  [
    "RootModel[list[Model]]",
    { ...nested, items: { $ref: "#/$defs/Address" }, title: "L", type: "array" },
    ['[{"street":"b","zip":"12345"}]'],
    ["[1]"],
  ],
];
