import fc from "fast-check";
import { JsonError } from "../../src/json/json-error";
import { JsonReader, parseJson } from "../../src/json/parse";
import { JsonNumber, keysOf } from "../../src/json/value";

/** What JSON.parse makes of it: JsonNumbers as doubles. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;

/** How long the pieces are that a text is cut into, again and again. */
const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });

function parseInPieces(text: string, cuts: readonly number[]): unknown {
  const reader = new JsonReader();
  for (let from = 0, i = 0; from < text.length; i++) {
    const length = cuts[i % cuts.length]!;
    reader.push(text.slice(from, from + length));
    from += length;
  }
  return reader.end();
}

function faultOf(read: () => unknown): JsonError {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(JsonError);
    return error as JsonError;
  }
  throw new Error("nothing was thrown");
}

describe("values", () => {
  it.each([
    "null",
    "true",
    " [ ] ",
    "{}",
    '""',
    '[1,-2,3.5,0,""]',
    '{"a":{"b":[{"c":null}]},"d":false}',
    '"\\u00e9\\n\\"\\\\\\/\\ud83e\\udea8é日本🪨\\ud800"',
    '{"":1,"a b":2,"\\u0061":3}',
    '\t{\r\n"a" : [ 1 , 2 ] }\n',
    "[[],{},[[]],[{}]]",
  ])("%s is what JSON.parse says", (text) => {
    expect(plain(parseJson(text))).toEqual(JSON.parse(text));
  });

  it("any value is what JSON.parse says, however it is spaced and cut into pieces", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 1, 3), lengths, (value, indent, cuts) => {
        const text = JSON.stringify(value, null, indent);
        expect(plain(parseJson(text))).toEqual(JSON.parse(text));
        expect(parseInPieces(text, cuts)).toEqual(parseJson(text));
      }),
    );
  });

  it("any text is refused where JSON.parse refuses it", () => {
    const piece = fc.constantFrom(..."[]{}:,", '"', '"a"', "1", "-", "0", ".5", "e3", "true", "nul", " ", "\\", "\n");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), lengths, (pieces, cuts) => {
        const text = pieces.join("");
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          const { line, column, offset } = faultOf(() => parseJson(text));
          expect(faultOf(() => parseInPieces(text, cuts))).toMatchObject({ line, column, offset });
          return;
        }
        expect(plain(parseJson(text))).toEqual(plain(expected));
        expect(plain(parseInPieces(text, cuts))).toEqual(plain(expected));
      }),
      { numRuns: 3000 },
    );
  });
});

describe("numbers", () => {
  it.each(["0", "7", "-7", "999999999999999", "9007199254740992", "-9007199254740992", "0.1", "-2.5", "123.456"])(
    "%s is a number",
    (text) => {
      expect(parseJson(text)).toBe(Number(text));
    },
  );

  it.each<[string, boolean]>([
    ["9007199254740993", true],
    ["-9223372036854775808", true],
    ["18446744073709551615", true],
    ["123456789012345680000", true],
    ["-0", true],
    ["1.0", false],
    ["0.10", false],
    ["1e2", false],
    ["1E2", false],
    ["1e+21", false],
    ["1e400", false],
    ["0.30000000000000000001", false],
  ])("%s keeps its text", (text, isWhole) => {
    const value = (parseJson(`[${text}]`) as JsonNumber[])[0];
    expect(value).toBeInstanceOf(JsonNumber);
    expect(value).toMatchObject({ text, isWhole, value: Number(text) });
  });
});

describe("keys", () => {
  it.each([
    ['{"b":1,"10":2,"a":3,"2":4}', ["b", "10", "a", "2"]],
    ['{"1":1,"0":2}', ["1", "0"]],
    ['{"2":1,"b":2,"2":3}', ["2", "b"]],
    ['{"b":1,"a":2}', ["b", "a"]],
    ['{"4294967295":1,"01":2,"1":3}', ["4294967295", "01", "1"]],
  ])("of %s are in the order written", (text, keys) => {
    expect(keysOf(parseJson(text) as object)).toEqual(keys);
  });

  it("the last of equal ones counts", () => {
    expect(parseJson('{"a":1,"a":2}')).toEqual({ a: 2 });
  });

  it("__proto__ and constructor are keys like any other", () => {
    const value = parseJson('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}') as object;
    expect(Object.keys(value)).toEqual(["__proto__", "constructor"]);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe("errors", () => {
  it.each([
    ["", "expected a value, but the text ends at line 1, column 1"],
    ["[1,]", 'expected a value, but there is "]" at line 1, column 4'],
    ['{"a":1,}', 'expected a key in quotes, but there is "}" at line 1, column 8'],
    ['{"a" 1}', 'expected ":", but there is "1" at line 1, column 6'],
    ['{"a":1\n "b":2}', 'expected "," or "}", but there is "\\"" at line 2, column 2'],
    ["[1 2]", 'expected "," or "]", but there is "2" at line 1, column 4'],
    ['{"prompt":"the ri', 'expected ", but the text ends at line 1, column 18'],
    ["[1]🪨", 'expected the end of the text, but there is "🪨" at line 1, column 4'],
    ["NaN", 'expected a value, but there is "N" at line 1, column 1'],
    ["[01]", "a number is malformed at line 1, column 2"],
    ["[1.]", "a number is malformed at line 1, column 2"],
    ['["a\nb"]', "a string has a control character that is not escaped at line 1, column 4"],
    ['["\\x"]', "there is a string with an unknown escape at line 1, column 2"],
    [`[${"1".repeat(1001)}]`, "a number has more than 1000 characters at line 1, column 2"],
  ])("%.30j", (text, message) => {
    expect(() => parseJson(text)).toThrow(message);
  });

  it("a text may be as deep as the limit, and no deeper", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(() => parseJson(nested(200))).not.toThrow();
    expect(() => parseJson(nested(201))).toThrow("nested deeper than 200 levels at line 1, column 201");
    expect(() => parseJson("[".repeat(1_000_000))).toThrow("nested deeper");
    expect(() => parseJson('{"a":'.repeat(1_000_000))).toThrow("nested deeper");
  });

  it("a text may hold as many lists and objects as the limit, and no more", () => {
    const limits = { depth: 10, containers: 4 };
    expect(() => parseJson("[[],[],{}]", limits)).not.toThrow();
    expect(() => parseJson("[[],[],{},[]]", limits)).toThrow("more than 4 lists and objects at line 1, column 11");
  });
});

it("an object may have as many keys as the limit, equal ones counted again, and no more", () => {
  const limits = { keys: 2 };
  expect(() => parseJson('[{"a":1,"b":{"c":1,"d":1}},{"a":1,"b":1}]', limits)).not.toThrow();
  expect(() => parseJson('{"a":{"c":1},"b":1,"a":1}', limits)).toThrow("more than 2 keys at line 1, column 20");
});

describe("a text in pieces", () => {
  it("is refused with the piece that has the fault", () => {
    const reader = new JsonReader({ depth: 3, containers: 10 });
    reader.push('{"a":\n[');
    expect(() => reader.push("[[")).toThrow("nested deeper than 3 levels at line 2, column 3");
  });

  it.each([
    ["a long string", `"${"a\\u00e9".repeat(200_000)}"`],
    ["a long list", `[${"1,".repeat(500_000)}1]`],
    ["white space", `${" \n".repeat(500_000)}1`],
  ])("%s takes work in proportion to its length", (_, text) => {
    // One of 100,000 pieces would have to be read to its end for each, 10^11 characters in all, if what came were read again.
    expect(parseInPieces(text, [13])).toEqual(JSON.parse(text));
  });

  it("a number that does not end is refused once it is too long", () => {
    const reader = new JsonReader();
    reader.push("1".repeat(1000));
    expect(() => reader.push("1")).toThrow("more than 1000 characters at line 1, column 1");
  });
});
