import fc from "fast-check";
import { Detokenizer, type DetokenizerOptions } from "../../src/tokenizer/detokenizer";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import { unfinishedTail, utf8Text } from "../../src/tokenizer/utf8";
import { bundledDir, loadJson, metaspace, sentencePiece, wordPiece } from "./fixtures";

function withRegex(steps: readonly object[]): Tokenizer {
  const replace = { type: "Replace", pattern: { Regex: "[▁]" }, content: " " };
  const decoders = [replace, ...steps, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }];
  return loadJson({ ...sentencePiece, decoder: { type: "Sequence", decoders } });
}

const tokenizers: Record<string, Tokenizer> = {
  ByteLevel: Tokenizer.load(bundledDir),
  "byte fallback": loadJson(sentencePiece),
  Metaspace: loadJson(metaspace),
  WordPiece: loadJson(wordPiece),
  // Regular expressions keep this one off the byte table.
  "regex Replace": withRegex([]),
  "no decoder": loadJson({ ...wordPiece, decoder: null }),
};

function pieces(tokenizer: Tokenizer, ids: readonly number[], options?: DetokenizerOptions): string[] {
  const detokenizer = new Detokenizer(tokenizer, options);
  return [...ids.map((id) => detokenizer.push(id)), detokenizer.flush()];
}

const splitsCharacter = (piece: string) => /^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/.test(piece);

describe.each(Object.entries(tokenizers))("pieces over a %s decoder", (_name, tokenizer) => {
  const anyId = fc.integer({ min: -1, max: tokenizer.vocabSize + 2 });
  const byteId = fc.integer({ min: 0, max: Math.min(262, tokenizer.vocabSize) });
  const options = fc.record({ skipSpecialTokens: fc.boolean() });

  it.each([
    ["any ids", anyId],
    ["ids of single bytes", byteId],
  ])("join to the text of %s, character by character", (_what, id) => {
    fc.assert(
      fc.property(fc.array(id, { maxLength: 40 }), options, (ids, how) => {
        const parts = pieces(tokenizer, ids, how);
        expect(parts.join("")).toBe(tokenizer.decode(ids, how));
        expect(parts.some(splitsCharacter)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it("join to encoded texts", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 30 }), async (text) => {
        const ids = await tokenizer.encode(text);
        expect(pieces(tokenizer, ids).join("")).toBe(tokenizer.decode(ids));
      }),
    );
  });
});

describe("a character over several tokens", () => {
  const tokenizer = tokenizers.ByteLevel!;
  const bytes = (...values: number[]) =>
    values.map((value) => {
      for (let id = 5; id < 261; id++) if (tokenizer.tokenBytes(id)[0] === value) return id;
      throw new Error(`no token of byte ${value}`);
    });

  it.each([
    ["comes with its last byte", [0xf0, 0x9f, 0x98, 0x80], ["", "", "", "😀", ""]],
    ["becomes U+FFFD when text follows", [0xe6, 0xbc, 0x41], ["", "", "\uFFFDA", ""]],
    ["becomes U+FFFD when another begins", [0xe6, 0xc3, 0xa9], ["", "\uFFFD", "é", ""]],
    ["becomes U+FFFD at the end", [0x41, 0xf0, 0x9f], ["A", "", "", "\uFFFD"]],
    ["is not waited for when it cannot be (surrogate)", [0xed, 0xa0, 0x80], ["", "\uFFFD\uFFFD", "\uFFFD", ""]],
    ["is not waited for when it cannot be (overlong)", [0xc0, 0x80], ["\uFFFD", "\uFFFD", ""]],
    ["may be a byte order mark", [0xef, 0xbb, 0xbf], ["", "", "\uFEFF", ""]],
  ])("%s", (_what, values, expected) => {
    expect(pieces(tokenizer, bytes(...values))).toEqual(expected);
  });

  it("goes on over special tokens that are skipped, and ends at those that are not", () => {
    const [first, second] = bytes(0xc3, 0xa9) as [number, number];
    expect(pieces(tokenizer, [first, 4, second])).toEqual(["", "", "é", ""]);
    expect(pieces(tokenizer, [first, 4, second], { skipSpecialTokens: false })).toEqual([
      "",
      "\uFFFD<|end|>",
      "\uFFFD",
      "",
    ]);
  });
});

describe("a space that marks the start of a word", () => {
  it.each(["byte fallback", "Metaspace", "regex Replace"])("is text after a context (%s)", async (name) => {
    const tokenizer = tokenizers[name]!;
    const ids = await tokenizer.encode("once a", { addSpecialTokens: false });
    expect(pieces(tokenizer, ids)[0]).toBe("once");
    expect(pieces(tokenizer, ids, { context: ids }).join("")).toBe(" once a");
    // A context without text is the start of one.
    expect(pieces(tokenizer, ids, { context: [1] }).join("")).toBe("once a");
  });

  it("joins WordPiece words to their context", () => {
    expect(pieces(tokenizers.WordPiece!, [2, 4], { context: [1] })).toEqual(["ing", " the", ""]);
  });
});

it("unfinishedTail leaves a split point that no later byte can change", () => {
  const byte = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0xe0, 0xed, 0xf0, 0xf4, 0x80, 0xa0, 0xbf));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 6 }), fc.array(byte, { maxLength: 6 }), (start, end) => {
      const whole = Uint8Array.from([...start, ...end]);
      const cut = start.length - unfinishedTail(start);
      expect(utf8Text(whole.subarray(0, cut)) + utf8Text(whole.subarray(cut))).toBe(utf8Text(whole));
    }),
    { numRuns: 1000 },
  );
});

it("gives a run without a complete character out every eight tokens, so that no token looks at more", () => {
  const tokenizer = withRegex([{ type: "ByteFallback" }]);
  const ids = new Array<number>(2000).fill(tokenizer.tokenId("<0xFF>")!);
  const parts = pieces(tokenizer, ids);
  expect(parts.slice(0, 16).map(({ length }) => length)).toEqual([
    ...new Array(7).fill(0),
    8,
    ...new Array(7).fill(0),
    8,
  ]);
  expect(parts.join("")).toBe("\uFFFD".repeat(2000));
});
