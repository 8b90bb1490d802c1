/** A tokenizer.json of each kind, as small as can be. */

const bytePieces = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const pieces = ["<unk>", "<s>", "</s>", ...bytePieces, ..."▁abcdelnoprtuw<>s/,.é", "▁a", "on", "ce", "once", "▁once"];

const sentencePieceModel = {
  type: "BPE",
  unk_token: "<unk>",
  fuse_unk: true,
  byte_fallback: true,
  vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
  merges: ["▁ a", "o n", "c e", "on ce", "▁ once"],
};

const specials = ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true, normalized: false }));

/** Llama's layout: BPE with byte fallback over ▁ for spaces, BOS added by the post-processor. */
export const sentencePiece = {
  added_tokens: specials,
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: {},
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: sentencePieceModel,
};

/** The same vocabulary over the Metaspace components. */
export const metaspace = {
  ...sentencePiece,
  normalizer: null,
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
  post_processor: null,
  decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
};

/** A decoder that the byte table cannot express: the text of a token depends on its place. */
export const wordPiece = {
  added_tokens: [{ id: 0, content: "[UNK]", special: true, normalized: false }],
  normalizer: {
    type: "BertNormalizer",
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: "BertPreTokenizer" },
  post_processor: null,
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  model: {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(
      ["[UNK]", "play", "##ing", "##s", "the", "game", ",", ".", "n't", "\u{1F600}", "##\u{1F600}", "\uFFFD"].map(
        (token, id) => [token, id],
      ),
    ),
  },
};

/** Pieces with scores; `</s>` is a piece like any other for the segmentation. */
export const unigram = {
  added_tokens: specials,
  normalizer: null,
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
  post_processor: null,
  decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
  model: {
    type: "Unigram",
    unk_id: 0,
    vocab: [["<unk>", 0], ["<s>", 0], ["</s>", 0], ...[..."▁</s>ab"].map((piece) => [piece, -4]), ["▁ab", -2]],
  },
};
