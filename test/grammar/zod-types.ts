/** What people ask for with Zod, and values of each as compact JSON: those that are and those that are not. */
import { z } from "zod";

interface Category {
  readonly name: string;
  readonly children: readonly Category[];
}
const category: z.ZodType<Category> = z.lazy(() => z.object({ name: z.string(), children: z.array(category) }));

const circle = z.object({ kind: z.literal("circle"), radius: z.number().positive() });
const square = z.object({ kind: z.literal("square"), side: z.number().nonnegative() });

export const zodTypes: readonly (readonly [
  name: string,
  type: z.ZodType,
  yes: readonly string[],
  no: readonly string[],
])[] = [
  ["string", z.string(), ['"a"', '""'], ["1"]],
  ["string of a length", z.string().min(2).max(4), ['"ab"', '"日本語"'], ['"a"', '"abcde"']],
  ["regex", z.string().regex(/^[A-Z]{2}\d+$/), ['"AB12"'], ['"A1"']],
  [
    "regex and length",
    z
      .string()
      .regex(/^[a-z-]+$/)
      .min(3)
      .max(5),
    ['"a-b"', '"abcde"'],
    ['"ab"', '"abcdef"', '"A-b"'],
  ],
  ["starts, includes, ends", z.string().startsWith("ab").includes("q").endsWith("z"), ['"abqz"'], ['"abz"', '"qz"']],
  ["lowercase", z.string().lowercase(), ['"é1"'], ['"A"']],
  ["email", z.email(), ['"ann.lee@example.org"'], ['"ann@"', '".a@b.cd"']],
  ["url", z.url(), ['"https://example.org/a?b=c#d"', '"mailto:a@b.cd"'], ['"example.org"']],
  ["uuid", z.uuid(), ['"0b6f7a3c-1d2e-4f50-8a9b-0123456789ab"'], ['"0b6f7a3c"']],
  ["datetime", z.iso.datetime(), ['"2024-02-29T23:59:59.5Z"'], ['"2023-02-29T00:00:00Z"', '"2024-01-01"']],
  ["datetime with offset", z.iso.datetime({ offset: true }), ['"2024-01-01T00:00:00+02:00"'], ['"2024-01-01"']],
  ["date", z.iso.date(), ['"2000-02-29"'], ['"1900-02-29"', '"2024-13-01"']],
  ["time", z.iso.time(), ['"23:59:59.5"'], ['"24:00:00"']],
  ["duration", z.iso.duration(), ['"P1Y2M3DT4H5M6S"', '"PT5M"', '"P2W"'], ['"P"', '"PT"']],
  ["ipv4", z.ipv4(), ['"192.168.0.1"'], ['"256.0.0.1"']],
  ["ipv6", z.ipv6(), ['"::1"', '"2001:db8::8a2e:370:7334"', '"1:2:3:4:5:6:7:8"'], ['"1:2"', '"::1::"']],
  ["cidr", z.cidrv4(), ['"10.0.0.0/8"'], ['"10.0.0.0/33"']],
  ["hostname", z.hostname(), ['"a.example.org"'], ['"-a.org"', '"a_b"']],
  ["base64", z.base64(), ['"aGk="', '""'], ['"aGk"']],
  ["emoji", z.emoji(), ['"😀"'], ['"a"', '""']],
  ["ulid", z.ulid(), ['"01ARZ3NDEKTSV4RRFFQ69G5FAV"'], ['"01ARZ3"']],
  ["template literal", z.templateLiteral(["v", z.int().positive()]), ['"v12"'], ['"12"']],
  ["int", z.int(), ["0", "-9007199254740991"], ["1.5", "9007199254740992"]],
  ["int in a range", z.int().min(1).max(10), ["1", "10"], ["0", "11"]],
  ["int32", z.int32(), ["2147483647", "-2147483648"], ["2147483648"]],
  ["positive", z.number().positive(), ["0.001", "12"], ["0", "-1"]],
  ["nonnegative", z.number().nonnegative(), ["0", "1.25"], ["-0.5"]],
  ["multiples", z.number().multipleOf(0.25).max(2), ["0.25", "1.5", "2", "-3.75"], ["0.3", "2.25"]],
  ["multiples of an int", z.int().multipleOf(60).min(0), ["0", "60", "3600"], ["61", "90", "-60"]],
  ["float32", z.float32(), ["1.5", "-2000"], []],
  ["boolean and null", z.boolean().nullable(), ["true", "null"], ["0"]],
  ["enum", z.enum(["red", "green"]), ['"red"'], ['"blue"']],
  ["literals", z.literal([1, "x", null]), ["1", '"x"', "null"], ["2"]],
  ["union", z.union([z.string(), z.number(), z.array(z.boolean())]), ['"a"', "1.5", "[true]"], ["null", "[1]"]],
  ["exclusive union", z.xor([circle, square]), ['{"kind":"circle","radius":1}'], ['{"kind":"circle","side":1}']],
  [
    "discriminated union",
    z.discriminatedUnion("kind", [circle, square]),
    ['{"kind":"circle","radius":0.5}', '{"kind":"square","side":0}'],
    ['{"kind":"circle","radius":0}', '{"kind":"square"}'],
  ],
  [
    "optional, nullable and default",
    z.object({ a: z.string().optional(), b: z.string().nullable(), c: z.number().default(3), d: z.int().nullish() }),
    ['{"b":null,"c":1}', '{"a":"","b":"x","c":2,"d":null}'],
    ["{}", '{"a":null,"b":null,"c":1}'],
  ],
  ["record", z.record(z.string(), z.number()), ["{}", '{"x":1,"y":2}'], ['{"x":"1"}']],
  [
    "record of enum keys",
    z.record(z.enum(["a", "b"]), z.boolean()),
    ['{"a":true,"b":false}'],
    ['{"a":true}', '{"c":true}'],
  ],
  ["partial record", z.partialRecord(z.enum(["a", "b"]), z.boolean()), ["{}", '{"b":true}'], ['{"c":true}']],
  ["record of keys by pattern", z.record(z.string().regex(/^x-/), z.int()), ['{"x-a":1}'], ['{"a":1}', '{"x-a":""}']],
  ["tuple", z.tuple([z.string(), z.number()]), ['["a",1]'], ['["a"]', '["a",1,2]']],
  ["tuple with rest", z.tuple([z.string()], z.int()), ['["a"]', '["a",1,2]'], ["[]", '["a","b"]']],
  ["array of a length", z.array(z.int()).min(1).max(3), ["[1]", "[1,2,3]"], ["[]", "[1,2,3,4]"]],
  [
    "nested objects",
    z.object({ a: z.object({ b: z.array(z.object({ c: z.null() })) }) }),
    ['{"a":{"b":[{"c":null}]}}'],
    ["{}"],
  ],
  ["strict object", z.strictObject({ a: z.string() }), ['{"a":""}'], ['{"a":"","b":1}']],
  ["loose object", z.looseObject({ a: z.string() }), ['{"a":"","b":[1]}'], ["{}"]],
  ["catchall", z.object({ a: z.string() }).catchall(z.int()), ['{"a":"","b":1}'], ['{"a":"","b":""}']],
  [
    "intersection",
    z.intersection(z.object({ a: z.string() }), z.object({ b: z.int() })),
    ['{"a":"","b":1}'],
    ['{"a":""}'],
  ],
  ["recursive", category, ['{"name":"a","children":[{"name":"b","children":[]}]}'], ['{"name":"a"}']],
  ["any JSON", z.json(), ['{"a":[1,null,"x"]}'], ["nul"]],
  ["array of nothing", z.array(z.never()), ["[]"], ["[1]"]],
  ["described", z.object({ a: z.string().describe("what") }).meta({ title: "T", id: "t" }), ['{"a":"x"}'], ["{}"]],
];
