import fc from "fast-check";
import { parseJson } from "../../src/json/parse";
import { stringifyJson } from "../../src/json/stringify";
import { entriesOf, isObject, JsonNumber, keysOf, mapStrings, objectOf, toNumber } from "../../src/json/value";

it.each([
  '{"b":1.0,"10":[1e2,-0],"2":9007199254740993}',
  '[9223372036854775807,0.10,{"1":{"0":1}}]',
  '{"__proto__":1.50,"a":"é"}',
  '[null,true,false,1,-2.5,""]',
  "1.0",
])("%s is written as it was read", (text) => {
  expect(stringifyJson(parseJson(text))).toBe(text);
});

it("what has nothing to lose is written as JSON.stringify does", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      expect(stringifyJson(value)).toBe(JSON.stringify(value));
    }),
  );
  expect(stringifyJson({ a: undefined, b: [undefined, Number.NaN], c: new JsonNumber("1.0"), d: undefined })).toBe(
    '{"b":[null,null],"c":1.0}',
  );
  expect(stringifyJson({ seed: 2n ** 63n })).toBe('{"seed":9223372036854775808}');
});

it("a copy of entries keeps their order, the last of equal keys and __proto__", () => {
  const copy = objectOf([
    ["x", 1],
    ["1", 2],
    ["0", 3],
    ["x", 4],
    ["__proto__", 5],
  ]);
  expect(entriesOf(copy)).toEqual([
    ["x", 4],
    ["1", 2],
    ["0", 3],
    ["__proto__", 5],
  ]);
  expect(keysOf({ b: 1, a: 2 })).toEqual(["b", "a"]);
});

it("strings are changed everywhere, numbers and orders nowhere", () => {
  const changed = mapStrings(parseJson('{"b":["x",1.0],"1":null,"0":{"y":"z"}}'), (text) => `<${text}>`);
  expect(stringifyJson(changed)).toBe('{"<b>":["<x>",1.0],"<1>":null,"<0>":{"<y>":"<z>"}}');
  expect(stringifyJson(mapStrings(parseJson('{"b":1,"1":2,"0":3}'), (text) => text))).toBe('{"b":1,"1":2,"0":3}');
});

it("an object is neither a list nor a number nor null", () => {
  expect([{}, [], null, 1, new JsonNumber("1.0"), "x"].map(isObject)).toEqual([
    true,
    false,
    false,
    false,
    false,
    false,
  ]);
});

it("a number is the double that is nearest", () => {
  expect([new JsonNumber("1e2"), new JsonNumber("9007199254740993"), 5, "x"].map(toNumber)).toEqual([
    100,
    9007199254740992,
    5,
    "x",
  ]);
});
