/** Tokenizers out of GGUF files: against the same tokenizer.json, the cuts of each pre-tokenizer, and what is refused. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { preTokenizers } from "../../../src/tokenizer/gguf/pre-tokenizers";
import { Tokenizer } from "../../../src/tokenizer/tokenizer";
import { ggufTokenizer } from "../../helpers/gguf-models";
import { GgufWriter } from "../../helpers/gguf-writer";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";

const bundled = join(__dirname, "..", "..", "..", "models", "storyteller-6m");

let dir: TestDir;
const opened: Tokenizer[] = [];
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((tokenizer) => tokenizer.close()));
  dir.remove();
});

function load(writer: GgufWriter): Tokenizer {
  const tokenizer = Tokenizer.load(dir.write("a.gguf", writer.file()));
  opened.push(tokenizer);
  return tokenizer;
}

test("the bundled model's is what its tokenizer.json makes", async () => {
  const writer = new GgufWriter();
  ggufTokenizer(bundled, 4096 + 8, "gpt-2")(writer);
  const [actual, expected] = [load(writer), Tokenizer.load(bundled)];
  opened.push(expected);
  expect(actual.vocabSize).toBe(expected.vocabSize);
  expect(actual.chatTemplate).toBe(expected.chatTemplate);
  expect(actual.specialTokens).toEqual(expected.specialTokens);
  expect(actual.specialIds).toEqual(expected.specialIds);
  expect([actual.bosTokenId, actual.eosTokenIds]).toEqual([expected.bosTokenId, expected.eosTokenIds]);
  const story = readFileSync(join(bundled, "README.md"), "utf8").slice(0, 3000);
  for (const text of [
    story,
    "<|user|>\nNaïve café 12,345 €<|end|>\n\n",
    "  spaces\tand\r\nlines",
    "\u{1f600}don't",
    "",
  ]) {
    const ids = await expected.encode(text);
    expect(await actual.encode(text)).toEqual(ids);
    expect(actual.decode(ids, { skipSpecialTokens: false })).toBe(expected.decode(ids, { skipSpecialTokens: false }));
  }
});

/** The printable characters that stand for bytes in GPT-2's tokenizers. */
function byteCharacters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173 && byte < 256);
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
}

/** Merges everything that stays together: pieces of a text are the tokens. Byte-level, of the characters of `alphabet`. */
function greedy(pre: string | null, pieces: readonly string[]): GgufWriter {
  const characters = byteCharacters();
  const spelled = (text: string) => [...Buffer.from(text)].map((byte) => characters[byte]!).join("");
  const tokens = new Set(characters);
  const merges = new Set<string>();
  for (const piece of pieces) {
    const bytes = [...spelled(piece)];
    for (let begin = 0; begin < bytes.length; begin++) {
      for (let end = begin + 2; end <= bytes.length; end++) {
        tokens.add(bytes.slice(begin, end).join(""));
        merges.add(`${bytes.slice(begin, end - 1).join("")} ${bytes[end - 1]!}`);
      }
    }
  }
  const texts = ["<s>", ...tokens];
  const writer = new GgufWriter()
    .key("tokenizer.ggml.model", "string", "gpt2")
    .list("tokenizer.ggml.tokens", "string", texts)
    .list(
      "tokenizer.ggml.token_type",
      "int32",
      texts.map((_, id) => (id === 0 ? 3 : 1)),
    )
    .list("tokenizer.ggml.merges", "string", [...merges])
    .key("tokenizer.ggml.bos_token_id", "uint32", 0);
  return pre === null ? writer : writer.key("tokenizer.ggml.pre", "string", pre);
}

const text = "I'M it's 12345 abcDEF, (x)\n\n  y";
const cuts: Readonly<Record<string, string>> = {
  gpt2: "I|'|M| it|'s| 12345| abcDEF|,| (|x|)|\n\n | y",
  digits: "I|'|M| it|'s| |1|2|3|4|5| abcDEF|,| (|x|)|\n\n | y",
  threeDigits: "I|'M| it|'s| |123|45| abcDEF|,| (|x|)\n\n| | y",
  oneDigit: "I|'M| it|'s| |1|2|3|4|5| abcDEF|,| (|x|)\n\n| | y",
  cased: "I|'M| it|'s| |1|2|3|4|5| abc|DEF|,| (|x|)\n\n| | y",
  casedThree: "I'M| it's| |123|45| abc|DEF|,| (|x|)\n\n| | y",
};
const cutsOf: Readonly<Record<string, keyof typeof cuts>> = {
  ...{ "gpt-2": "gpt2", mpt: "gpt2", olmo: "gpt2", starcoder: "digits", refact: "digits", smollm: "digits" },
  ...{ dbrx: "threeDigits", "smaug-bpe": "threeDigits", "llama-bpe": "threeDigits", llama3: "threeDigits" },
  ...{ "llama-v3": "threeDigits", falcon3: "threeDigits", "falcon-h1": "threeDigits" },
  ...{ qwen2: "oneDigit", qwen35: "oneDigit", tekken: "cased", pixtral: "cased", "gpt-4o": "casedThree" },
};

test.each(Object.keys(preTokenizers))("%s cuts text as its models do", async (pre) => {
  const expected = cuts[cutsOf[pre]!]!.split("|");
  expect(expected.join("")).toBe(text);
  const tokenizer = load(greedy(pre, [text]));
  const { addBos } = preTokenizers[pre]!;
  const ids = await tokenizer.encode(text);
  expect(ids.map((id) => tokenizer.decode([id], { skipSpecialTokens: false }))).toEqual([
    ...(addBos ? ["<s>"] : []),
    ...expected,
  ]);
});

test("letters with marks stay together in qwen35 alone", async () => {
  const word = "\u05e9\u05b8"; // a letter and a mark that NFC leaves apart
  const pieces = async (pre: string) => (await load(greedy(pre, [word])).encode(word)).length;
  expect([await pieces("qwen35"), await pieces("qwen2")]).toEqual([1, 2]);
});

test.each([
  ["add_bos_token", true, [0, 98]],
  ["add_bos_token", false, [98]],
] as const)("%s %s", async (key, value, expected) => {
  for (const pre of ["gpt-2", "llama3"]) {
    const tokenizer = load(greedy(pre, []).key(`tokenizer.ggml.${key}`, "bool", value));
    expect(await tokenizer.encode("a")).toEqual(expected);
    expect(await tokenizer.encode("a", { addSpecialTokens: false })).toEqual([98]);
  }
});

test("add_eos_token ends a sequence", async () => {
  const tokenizer = load(
    greedy("gpt-2", [])
      .key("tokenizer.ggml.eos_token_id", "uint32", 0)
      .key("tokenizer.ggml.add_eos_token", "bool", true),
  );
  expect(await tokenizer.encode("a")).toEqual([98, 0]);
});

test("user-defined tokens are found in text and are no control tokens", async () => {
  const texts = ["<s>", ...byteCharacters(), "<tool>"];
  const tokenizer = load(
    new GgufWriter()
      .key("tokenizer.ggml.model", "string", "gpt2")
      .key("tokenizer.ggml.pre", "string", "gpt-2")
      .list("tokenizer.ggml.tokens", "string", texts)
      .list(
        "tokenizer.ggml.token_type",
        "int32",
        texts.map((token) => ({ "<s>": 3, "<tool>": 4 })[token] ?? 1),
      )
      .list("tokenizer.ggml.merges", "string", []),
  );
  expect(await tokenizer.encode("a<tool><s>")).toEqual([98, 257, 0]);
  expect(tokenizer.decode([98, 257, 0])).toBe("a<tool>");
  expect([...tokenizer.specialIds]).toEqual([0]);
});

describe("pieces of SentencePiece", () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const pieces: readonly (readonly [piece: string, score: number, type: number])[] = [
    ["<unk>", 0, 2],
    ["<s>", 0, 3],
    ["</s>", 0, 3],
    ...bytes.map((byte) => [byte, 0, 6] as const),
    ["\u2581", -10, 1],
    ["a", -11, 1],
    ["b", -12, 1],
    ["c", -13, 1],
    ["ab", -2, 1],
    ["bc", -1, 1],
    ["\u2581a", -3, 1],
    ["abc", -4, 1],
    ["[INST]", 0, 4],
  ];
  const idOf = (piece: string) => pieces.findIndex(([text]) => text === piece);
  const writer = () =>
    new GgufWriter()
      .key("tokenizer.ggml.model", "string", "llama")
      .list(
        "tokenizer.ggml.tokens",
        "string",
        pieces.map(([piece]) => piece),
      )
      .list(
        "tokenizer.ggml.scores",
        "float32",
        pieces.map(([, score]) => score),
      )
      .list(
        "tokenizer.ggml.token_type",
        "int32",
        pieces.map(([, , type]) => type),
      )
      .key("tokenizer.ggml.bos_token_id", "uint32", 1)
      .key("tokenizer.ggml.eos_token_id", "uint32", 2)
      .key("tokenizer.ggml.unknown_token_id", "uint32", 0);

  test.each([
    // The best score comes first: "bc", then the mark of the space with "a", and "abc" cannot be any more.
    ["abc", ["\u2581a", "bc"]],
    ["b abc", ["\u2581", "b", "\u2581a", "bc"]],
    ["babc", ["\u2581", "b", "abc"]],
    ["ab", ["\u2581", "ab"]],
    ["aab", ["\u2581a", "ab"]],
    ["b a", ["\u2581", "b", "\u2581a"]],
    ["a\u00e9", ["\u2581a", "<0xC3>", "<0xA9>"]],
    ["[INST]a", ["[INST]", "\u2581a"]],
  ])("%j", async (text, expected) => {
    const tokenizer = load(writer());
    const ids = await tokenizer.encode(text);
    expect(ids.map((id) => tokenizer.token(id))).toEqual(["<s>", ...expected]);
    // What follows an added token begins with a space, too.
    expect(tokenizer.decode(ids.slice(1))).toBe(text.replace("]", "] "));
  });

  test("without a space before the text", async () => {
    const tokenizer = load(writer().key("tokenizer.ggml.add_space_prefix", "bool", false));
    const ids = await tokenizer.encode("ab a", { addSpecialTokens: false });
    expect(ids).toEqual([idOf("ab"), idOf("\u2581a")]);
    expect(tokenizer.decode(ids)).toBe("ab a");
  });
});

describe("refused", () => {
  const base = () => new GgufWriter().key("tokenizer.ggml.model", "string", "gpt2");
  const withTokens = (tokens: readonly string[]) =>
    base().key("tokenizer.ggml.pre", "string", "gpt-2").list("tokenizer.ggml.tokens", "string", tokens);
  const rows: readonly (readonly [string, () => GgufWriter, string])[] = [
    ["no tokenizer", () => new GgufWriter(), "tokenizer.ggml.tokens: expected a list of strings, got nothing"],
    [
      "tokens that are numbers",
      () => base().list("tokenizer.ggml.tokens", "int32", [1]),
      "got a list of something else",
    ],
    ["tokens that are no list", () => base().key("tokenizer.ggml.tokens", "uint32", 1), "a list of strings, got 1"],
    [
      "another model",
      () => new GgufWriter().key("tokenizer.ggml.model", "string", "t5").list("tokenizer.ggml.tokens", "string", ["a"]),
      'tokenizer.ggml.model: expected "gpt2" or "llama"',
    ],
    ["an unknown pre-tokenizer", () => greedy("kimi-k2", []), "tokenizer.ggml.pre: expected one of gpt-2, mpt"],
    ["no pre-tokenizer", () => greedy(null, []), "got nothing"],
    ["no merges", () => withTokens(["a"]), "tokenizer.ggml.merges: expected a list of strings, got nothing"],
    ["a token twice", () => withTokens(["a", "a"]), 'expected different tokens for ids 0 and 1, got "a"'],
    [
      "types of other tokens",
      () => withTokens(["a"]).list("tokenizer.ggml.token_type", "int32", [1, 1]),
      "tokenizer.ggml.token_type: expected 1 integers, as there are tokens, got 2",
    ],
    [
      "an end of text that is no token",
      () => withTokens(["a"]).key("tokenizer.ggml.eos_token_id", "uint32", 7),
      "tokenizer.ggml.eos_token_id: expected an id below the 1 tokens, got 7",
    ],
    [
      "a flag that is none",
      () => greedy("gpt-2", []).key("tokenizer.ggml.add_bos_token", "uint32", 7),
      "tokenizer.ggml.add_bos_token: expected true or false, got 7",
    ],
    [
      "pieces without scores",
      () =>
        new GgufWriter().key("tokenizer.ggml.model", "string", "llama").list("tokenizer.ggml.tokens", "string", ["a"]),
      "tokenizer.ggml.scores: expected a list of numbers",
    ],
  ];

  test.each(rows)("%s", (_, writer, fragment) => {
    const path = dir.write("a.gguf", writer().file());
    const { message } = engineError("ERR_TOKENIZER", () => Tokenizer.load(path));
    expect(message).toContain(path);
    expect(message).toContain(fragment);
  });
});
