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
  fc.constantFrom(".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\p{Lu}", "\\P{L}"),
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
    fc.tuple(fc.constantFrom("(?=", "(?!"), tie("pattern")).map(([open, inner]) => `${open}${inner})`),
    fc.constantFrom("^", "$"),
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
    ["(", "Unterminated group at 1"],
    [")", "Unmatched ')' at 0"],
    ["a**", "Nothing to repeat at 3"],
    ["*a", "Nothing to repeat at 1"],
    ["a{2", "Incomplete quantifier at 3"],
    ["a{x}", "Incomplete quantifier at 2"],
    ["a{3,2}", "numbers out of order in {} quantifier"],
    ["a{1001}", "at most 1000 repetitions"],
    ["a{1,1000000000}", "at most 1000 repetitions"],
    ["[a", "Unterminated character class"],
    ["[a-", "Unterminated character class"],
    ["[b-a]", "out of order"],
    ["(?<=a)b", "(?<=a) at 0, which is not supported"],
    ["a(?<!b)b", "(?<!b) at 1, which is not supported"],
    ["(?:a(?!b))*", "an assertion at 0 within"],
    ["(?:^a|b){0,17}", "an assertion at 0 within"],
    ["a*(?:^b)", 'has "^" after 2, where it may or may not be the start'],
    ["(?i)a", "Invalid group"],
    ["(?i:a)", "(?i:a) at 0, which is not supported"],
    ["(?", "Invalid group"],
    ["(a)\\1", "\\1 at 3, which is not supported"],
    ["(?<n>a)\\k<n>", "\\k<n> at 7"],
    ["\\bword\\b", "\\b at 0"],
    ["word\\Z", "\\Z at 4, which is not supported"],
    ["\\p{Foo}", "Invalid property name"],
    ["\\x1", "\\x at 0"],
    ["\\u12", "Invalid unicode escape"],
    ["\\u{110000}", "Invalid unicode escape"],
    ["\\ud800", "half of a surrogate pair"],
    ["\ud800", "half of a surrogate pair"],
    ["\\", "Invalid escape at 1"],
    ["a^b", "no text that ends"],
    ["a$b", "no text that ends"],
    ["(?=b)a", "no text that ends"],
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

test("patterns of other dialects mean what they do there", () => {
  const matches = (source: string, texts: string[]) => texts.map((text) => accepts(crossing, compile(source), text));
  expect(matches("(?P<year>\\d{2})\\_\\@[\\w-.]]", ["12_@a]", "12_@-]", "12_@+]", "12@a]"])).toEqual([
    true,
    true,
    false,
    false,
  ]);
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
