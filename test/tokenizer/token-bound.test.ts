import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { tokenBound } from "../../src/tokenizer/token-bound";
import type { TokenizerFiles } from "../../src/tokenizer/tokenizer-files";
import { Vocabulary } from "../../src/tokenizer/vocabulary";
import { loadJson } from "./fixtures";

const { texts, cases } = JSON.parse(readFileSync(join(__dirname, "../golden/tokenizers.json"), "utf8")) as {
  texts: string[];
  cases: { name: string; tokenizer: TokenizerFiles["json"] }[];
};

function boundOf(json: TokenizerFiles["json"]) {
  const files = { path: "", json, config: {}, namedTokens: {}, specialContents: [], chatTemplate: null };
  return tokenBound(json, new Vocabulary(files));
}

test.each(cases)("$name has no fewer tokens than its bound", async ({ tokenizer: json }) => {
  const tokenizer = loadJson(json);
  const bound = boundOf(json);
  const part = fc.constantFrom(...texts, "aaaaaaaaaaaa", "            ", "hello", "e\u0301", "<mask>", "日本");
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 6 }), async (parts) => {
      const text = parts.join("");
      expect((await tokenizer.encode(text, { addSpecialTokens: false })).length).toBeGreaterThanOrEqual(bound(text));
    }),
    { numRuns: 30 },
  );
});

test("of a text whose characters are joined first, a quarter counts", () => {
  const json = cases.find((one) => one.name === "ByteLevel after Split")!.tokenizer;
  const whole = boundOf(json)("z".repeat(1200));
  expect(boundOf({ ...json, normalizer: { type: "NFC" } })("z".repeat(1200))).toBe(whole / 4);
  expect("\u03c9\u0314\u0342\u0345".normalize("NFC")).toHaveLength(1); // four become one
});

test("most models have a bound", () => {
  const text = "z".repeat(1000);
  const of = (name: string) => boundOf(cases.find((one) => one.name === name)!.tokenizer)(text);
  expect(of("ByteLevel after Split")).toBe(167); // "Ġworld" is the longest, of 6 bytes
  expect(of("byte fallback")).toBeGreaterThan(50);
  expect(of("WordPiece True")).toBe(0);
  expect(of("unknown characters fused")).toBe(0);
  expect(of("pre-tokenizer WhitespaceSplit")).toBe(0);
  expect(of("pre-tokenizer UnicodeScripts")).toBe(0);
});
