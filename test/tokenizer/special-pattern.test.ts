import fc from "fast-check";
import { anyOf } from "../../src/tokenizer/special-pattern";

const found = (strings: readonly string[], text: string) => [...text.matchAll(anyOf(strings)!)].map(([match]) => match);

it("takes the longest string at a place", () => {
  expect(found(["a", "ab", "abcd"], "abcabcdab")).toEqual(["ab", "abcd", "ab"]);
  expect(anyOf([])).toBeNull();
});

it("finds what the alternatives one by one do", () => {
  const unit = fc.constantFrom(..."<|>/.*()[]{}^$?+-\\a😀é");
  const string = fc.string({ unit, minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(string, { minLength: 1, maxLength: 8 }),
      fc.string({ unit, maxLength: 30 }),
      (strings, text) => {
        const longestFirst = [...strings].sort((a, b) => b.length - a.length);
        const escaped = longestFirst.map((one) => one.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
        const expected = [...text.matchAll(new RegExp(escaped.join("|"), "gu"))].map(([match]) => match);
        expect(found(strings, text)).toEqual(expected);
      },
    ),
    { numRuns: 500 },
  );
});
