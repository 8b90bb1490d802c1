import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../../src/errors";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import { metaspace, modelDir, unigram, wordPiece } from "./fixtures";

const bpe = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] };
const good = {
  added_tokens: [],
  model: bpe,
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
};
const added = (...tokens: object[]) => ({ ...good, added_tokens: tokens });

function failure(files: Record<string, unknown>): EngineError {
  const dir = modelDir(files);
  try {
    Tokenizer.load(dir);
  } catch (error) {
    if (EngineError.is(error)) return error;
    throw error;
  }
  throw new Error("it loaded");
}

it("loads the table's good row, and one with gaps between ids", async () => {
  const dir = modelDir({
    "tokenizer.json": { ...good, model: { ...bpe, vocab: { a: 0, b: 5, ab: 9 } } },
    "tokenizer_config.json": {},
  });
  const tokenizer = Tokenizer.load(dir);
  expect(tokenizer.vocabSize).toBe(10);
  expect(await tokenizer.encode("abba")).toEqual([9, 5, 0]);
  expect(tokenizer.decode([9, 3, 5])).toBe("abb");
});

it.each<[string, unknown, string]>([
  ["an empty object", {}, `has no "model" object`],
  ["cut-off JSON", '{"model": {"ty', "is no valid JSON"],
  ["a list", [], "must hold a JSON object"],
  ["an unknown model type", { model: { ...bpe, type: "WordLevel" } }, `model type "WordLevel"`],
  ["a model without type or merges", { model: { vocab: {} } }, `"model" has no type`],
  ["no vocab", { model: { type: "BPE", merges: [] } }, "vocab of a BPE model must be an object"],
  ["no merges", { model: { type: "BPE", vocab: {} } }, "must have a list of merges"],
  ["a merge of an absent token", { model: { ...bpe, merges: ["a c"] } }, `merge 0 needs the token "c"`],
  ["a merge to an absent token", { model: { ...bpe, merges: [["b", "a"]] } }, `merge 0 needs the token "ba"`],
  ["a merge of three", { model: { ...bpe, merges: ["a b c"] } }, "merge 0 must be two tokens"],
  ["a merge that is a number", { model: { ...bpe, merges: [7] } }, "merge 0 must be two tokens"],
  ["a negative id", { model: { ...bpe, vocab: { a: -1 } } }, `the id of "a" is -1`],
  ["a fractional id", { model: { ...bpe, vocab: { a: 0.5 } } }, `the id of "a" is 0.5`],
  ["a string id", { model: { ...bpe, vocab: { a: "0" } } }, `the id of "a" is 0, not an integer`],
  ["a huge id", { model: { ...bpe, vocab: { a: 4e9 } } }, "the id of"],
  ["a duplicate id", { model: { ...bpe, vocab: { a: 1, b: 1 } } }, `id 1 is given to both "a" and "b"`],
  ["an absent unk_token", { model: { ...bpe, unk_token: "?" } }, `unk_token "?" is not in the vocab`],
  ["WordPiece without unk_token", { model: { ...wordPiece.model, unk_token: null } }, "unk_token"],
  ["Unigram without unk_id", { model: { ...unigram.model, unk_id: null } }, "unk_id null is no id"],
  ["Unigram with a bad piece", { model: { type: "Unigram", unk_id: 0, vocab: [["a"]] } }, "entry 0 of the vocab"],
  ["added tokens that are no list", { ...good, added_tokens: {} }, "added_tokens must be a list"],
  ["an added token without content", added({ id: 3 }), "added_tokens[0] must have"],
  ["an added token without id", added({ content: "x" }), `added_tokens[0]: the id of "x" is undefined`],
  ["an added token on a taken id", added({ id: 0, content: "x" }), `id 0 is given to both "a" and "x"`],
  ["an added token with a second id", added({ id: 3, content: "a" }), `"a" has two ids, 0 and 3`],
  ["an unknown normalizer", { ...good, normalizer: { type: "Magic" } }, `unknown normalizer type "Magic"`],
  ["an unknown pre-tokenizer", { ...good, pre_tokenizer: { type: "Magic" } }, `unknown pre_tokenizer type "Magic"`],
  ["an unknown post-processor", { ...good, post_processor: { type: "Magic" } }, `unknown post_processor type "Magic"`],
  ["an unknown decoder", { ...good, decoder: { type: "Magic" } }, `unknown decoder type "Magic"`],
  [
    "an unknown decoder within",
    { ...good, decoder: { type: "Sequence", decoders: [{ type: "Fuse" }, { type: "Magic" }] } },
    `unknown decoder type "Magic"`,
  ],
  [
    "a decoder within that is null",
    { ...good, decoder: { type: "Sequence", decoders: [null] } },
    "decoders[0] must be",
  ],
  ["a speech decoder", { ...good, decoder: { type: "CTC" } }, "CTC decoder"],
  [
    "a decoder that takes characters off the end",
    { ...good, decoder: { type: "Sequence", decoders: [{ type: "Strip", content: " ", start: 0, stop: 1 }] } },
    "decoders[0]: a Strip decoder with stop 1",
  ],
  [
    "a space that becomes a page",
    { ...good, pre_tokenizer: { type: "Metaspace", replacement: "a".repeat(5000) } },
    "pre_tokenizer: replacement has 5000 characters",
  ],
  [
    "a page within a sequence",
    {
      ...good,
      normalizer: {
        type: "Sequence",
        normalizers: [{ type: "Replace", pattern: { String: "a" }, content: "b".repeat(17) }],
      },
    },
    "normalizers[0]: content has 17 characters",
  ],
  ["a component that is a number", { ...good, pre_tokenizer: 7 }, "pre_tokenizer must be an object"],
  [
    "a malformed sequence",
    { ...good, pre_tokenizer: { type: "Sequence", pretokenizers: [null, 3] } },
    "pretokenizers[0] must be",
  ],
  [
    "a regular expression that is none",
    { ...good, pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated", invert: false } },
    "Oniguruma error: end pattern with unmatched parenthesis",
  ],
  [
    "a post-processor with an absent token",
    {
      ...good,
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
      },
    },
    `post_processor adds "<s>"`,
  ],
  [
    "a post-processor of numbers",
    { ...good, post_processor: { type: "TemplateProcessing", single: [0, { Sequence: { id: "A" } }] } },
    "post_processor: a piece must be an object",
  ],
  [
    "a post-processor without text",
    { ...good, post_processor: { type: "TemplateProcessing", single: [] } },
    "post_processor leaves out the text",
  ],
])("%s in tokenizer.json is an ERR_TOKENIZER", (_name, json, message) => {
  const error = failure({ "tokenizer.json": json, "tokenizer_config.json": {} });
  expect(error).toMatchObject({ code: "ERR_TOKENIZER", message: expect.stringContaining(message) });
  expect(error.message).toContain("tokenizer.json: ");
});

it.each<[string, Record<string, unknown>, string]>([
  ["no tokenizer.json", { "tokenizer_config.json": {} }, "tokenizer.json: does not exist"],
  ["a malformed config", { "tokenizer.json": metaspace, "tokenizer_config.json": "{" }, "tokenizer_config.json: is no"],
  [
    "a template that is a number",
    { "tokenizer.json": metaspace, "tokenizer_config.json": { chat_template: 7 } },
    "chat_template must be a string",
  ],
])("%s is an ERR_TOKENIZER", (_name, files, message) => {
  expect(failure(files)).toMatchObject({ code: "ERR_TOKENIZER", message: expect.stringContaining(message) });
});

it("tokenizer_config.json may be left out", () => {
  const tokenizer = Tokenizer.load(modelDir({ "tokenizer.json": metaspace, "chat_template.jinja": "x" }));
  expect(tokenizer).toMatchObject({ chatTemplate: "x", specialTokens: {}, eosTokenIds: [], bosTokenId: null });
  expect([...tokenizer.specialIds]).toEqual([0, 1, 2]);
});

it("a directory in a file's place is an ERR_TOKENIZER", () => {
  const dir = modelDir({});
  mkdirSync(join(dir, "tokenizer.json"));
  expect(() => Tokenizer.load(dir)).toThrow(
    expect.objectContaining({ code: "ERR_TOKENIZER", message: expect.stringContaining("cannot be read (EISDIR)") }),
  );
});

it("twenty thousand added tokens load", async () => {
  const added_tokens = Array.from({ length: 20_000 }, (_, i) => ({
    id: i + 3,
    content: `<extra_${i}>`,
    special: i < 9,
  }));
  const tokenizer = Tokenizer.load(
    modelDir({ "tokenizer.json": { ...good, added_tokens }, "tokenizer_config.json": {} }),
  );
  expect(await tokenizer.encode("a<extra_19999>")).toEqual([0, 20_002]);
  expect(tokenizer.decode([20_002])).toBe("<extra_19999>");
});
