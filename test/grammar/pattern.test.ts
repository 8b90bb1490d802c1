import fc from "fast-check";
import { defaultLimits } from "../../src/grammar/budget";
import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { accepts, asciiOnly, crossing, randomText } from "./walks";

const compile = (pattern: string, limits = defaultLimits) =>
  compileConstraint({ kind: "regex", pattern }, crossing, limits);
const ample = { work: 3e5, nodes: 1e5 };
const oracle = (pattern: string) => new RegExp(`^(?:${pattern})$`, "u");

/** Patterns of the supported syntax over few characters, so that random texts match now and then. */
const characterClass = fc.constantFrom(
  "[ab]",
  "[^a]",
  "[a-c\\d]",
  "[^\\w]",
  "[é-ü]",
  "[\\s\\-]",
  "[日-本]",
  "[^\\S ]",
  "[\\]]",
);
const atom = fc.oneof(
  fc.constantFrom(
    "a",
    "b",
    "c",
    " ",
    "é",
    "日",
    "😀",
    "\\.",
    "\\n",
    "\\x61",
    "\\u00e9",
    "\\u{1F600}",
    "\\ud83d\\ude00",
    "-",
    ",",
  ),
  fc.constantFrom(".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S"),
  characterClass,
);
const quantifier = fc.constantFrom("", "", "", "*", "+", "?", "*?", "{2}", "{0}", "{1,3}", "{2,}", "{0,2}?");
// RegExp takes exponential time where a group that holds a repetition is repeated: only groups of single characters are.
const { pattern } = fc.letrec<{ pattern: string; term: string; group: string; run: string }>((tie) => ({
  pattern: fc.oneof(
    { maxDepth: 2 },
    tie("term"),
    fc.tuple(tie("term"), tie("pattern")).map((parts) => parts.join("")),
  ),
  term: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    fc.tuple(atom, quantifier).map((parts) => parts.join("")),
    fc.tuple(tie("run"), quantifier).map((parts) => parts.join("")),
    fc.tuple(tie("group"), fc.constantFrom("", "", "?", "??", "{2}")).map((parts) => parts.join("")),
  ),
  run: fc
    .array(fc.array(atom, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 3 })
    .map((options) => `(?:${options.map((option) => option.join("")).join("|")})`),
  group: fc
    .tuple(fc.constantFrom("(", "(?:", "(?<n>"), fc.array(tie("pattern"), { minLength: 1, maxLength: 3 }))
    .map(([open, options]) => `${open.replace("n", `n${Math.abs(hash(options.join()))}`)}${options.join("|")})`),
}));

function hash(text: string): number {
  let value = 7;
  for (const character of text) value = (Math.imul(value, 31) + character.codePointAt(0)!) | 0;
  return value;
}

/** Group names may be there once only, and what blows up is no case. */
const valid = (text: string) => {
  try {
    oracle(text);
    compile(text, ample);
    return true;
  } catch {
    return false;
  }
};
const text = fc.array(
  fc.constantFrom("a", "b", "c", "1", " ", "é", "ü", "日", "本", "😀", ".", "-", ",", "\n", "]", "_"),
  { maxLength: 6 },
);

test("a text is accepted exactly if JavaScript's RegExp matches it as a whole", () => {
  fc.assert(
    fc.property(pattern.filter(valid), fc.array(text, { minLength: 5, maxLength: 20 }), (source, texts) => {
      const constraint = compile(source, ample);
      for (const parts of texts) {
        const whole = parts.join("");
        expect([source, whole, accepts(crossing, constraint, whole)]).toEqual([
          source,
          whole,
          oracle(source).test(whole),
        ]);
      }
    }),
    { numRuns: 300, endOnFailure: true },
  );
});

test("what is made under the masks matches, and every walk comes to an end", () => {
  fc.assert(
    fc.property(pattern.filter(valid), fc.integer(), (source, seed) => {
      const rng = new Rng(seed);
      const constraint = compile(source, ample);
      for (let i = 0; i < 3; i++) {
        const made = randomText(crossing, constraint, rng, 12);
        expect([made, accepts(crossing, constraint, made)]).toEqual([made, true]);
        // With many repetitions in a row RegExp's time is a high power of the length.
        if (made.length <= 16) expect(made).toMatch(oracle(source));
      }
    }),
    { numRuns: 200, endOnFailure: true },
  );
});

test("anchors around the whole change nothing", () => {
  for (const source of ["^a|b$", "^(a|b)$", "a|^b"]) {
    const constraint = compile(source);
    expect(["a", "b", "ab", ""].map((whole) => accepts(crossing, constraint, whole))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  }
});

test.each(
  [
    ["(", 'lacks a ")"'],
    [")", 'a ")" too many'],
    ["a**", "repeats a repetition"],
    ["*a", "nothing before it"],
    ["a{2", 'has "{" at 1'],
    ["a{x}", 'has "{" at 1'],
    ["a{3,2}", "second number is the smaller"],
    ["a{1001}", "at most 1000 repetitions"],
    ["a{1,1000000000}", "at most 1000 repetitions"],
    ["]", "write \\] for the character"],
    ["[a", 'lacks a "]"'],
    ["[a-", 'lacks a "]"'],
    ["[b-a]", "out of order"],
    ["[\\d-z]", "out of order"],
    ["(?=a)", "no assertion"],
    ["(?!a)b", "no assertion"],
    ["(?<=a)b", "no assertion"],
    ["(?i)a", "no assertion or flag"],
    ["(?", "no assertion or flag"],
    ["(a)\\1", "\\1"],
    ["(?<n>a)\\k<n>", "\\k"],
    ["\\bword\\b", "\\b"],
    ["\\p{L}", "\\p"],
    ["\\x1", "2 hexadecimal digits"],
    ["\\u12", "4 hexadecimal digits"],
    ["\\u{110000}", "without a code point"],
    ["\\ud800", "half of a surrogate pair"],
    ["\ud800", "half of a surrogate pair"],
    ["\\", "ends with"],
    ["a^b", "may only stand at the start"],
    ["(^a)", "may only stand at the start"],
    ["a$b", "which is not the end"],
    ["(a$)", "may only stand at the start"],
    ["a".repeat(4097), "4097 characters"],
    [`${"(".repeat(51)}a${")".repeat(51)}`, "nested deeper than 50"],
    [`${"(".repeat(2000)}`, "nested deeper than 50"],
    ["(a{1,1000}){1,1000}", "too large once repeated"],
    ["((((a{9}){9}){9}){9}){9}", "takes too long to compile"],
    ["(.*a.{12}|.*b.{12}|[^c]*c.{12}){1,40}", "takes too long to compile"],
    ["(a|b)*a(a|b){18}", "takes too long to compile"],
    ["[]", "no text that ends"],
    ["a[^\\s\\S]", "no text that ends"],
  ].map(([source, message]) => ({ source: source!, message: message!, name: source!.slice(0, 40) })),
)("refuses $name", ({ source, message }) => {
  expect(() => compile(source)).toThrow(
    expect.objectContaining({ code: "ERR_REQUEST", subject: "regex", message: expect.stringContaining(message) }),
  );
});

test.each([
  ["(a|aa)*", true],
  ["(a*)*", true],
  ["((a+)+)+b", false],
  ["(a|a?)+", true],
  ["(.*)*=.*", false],
  ["(x+x+)+y", false],
  ["(?:)*", false],
  ["()*", false],
])("reads %j in linear time", (source, matches) => {
  expect(accepts(crossing, compile(source), "a".repeat(3000))).toBe(matches);
});

test("a character that no token spells is not asked for", () => {
  const constraint = compileConstraint({ kind: "regex", pattern: "(a|b日|ü)c" }, asciiOnly);
  const rng = new Rng(1);
  const texts = new Set(Array.from({ length: 60 }, () => randomText(asciiOnly, constraint, rng)));
  expect([...texts].sort()).toEqual(["ac", "b日c"]);
  expect(() => compileConstraint({ kind: "regex", pattern: "aü" }, asciiOnly)).toThrow(
    "written with the model's tokens",
  );
});
