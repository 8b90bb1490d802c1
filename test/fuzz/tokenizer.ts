import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../../src/errors";
import { ChatTemplate } from "../../src/tokenizer/chat-template";
import { Detokenizer } from "../../src/tokenizer/detokenizer";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import { metaspace, sentencePiece, unigram, wordPiece } from "../tokenizer/small-tokenizers";
import type { Target } from "./fuzz";

const bundled = join(__dirname, "..", "..", "models", "storyteller-6m");
const texts = [
  "",
  "once upon",
  " ab  ba\n",
  "é日本🙂\u0000",
  "</s>a<s> [UNK]",
  "aaaaaaaaaaaaaaaaaaaaaaaa!",
  "playing games, 12",
];
/** Chat templates run in a process of their own, which takes its time to start: one in so many is rendered. */
const RENDERED = 300;

let rendered = 0;

/** The files of a tokenizer, then text to ids and back; each small kind, and the bundled model's own files. */
export const tokenizerTarget: Target = {
  name: "tokenizer",
  codes: ["ERR_TOKENIZER"],
  seeds: () => {
    const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: true };
    const byteLevel = {
      added_tokens: [{ id: 5, content: "<e>", special: true }],
      pre_tokenizer: level,
      post_processor: level,
      decoder: level,
      model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2, Ġ: 3, Ã: 4 }, merges: ["a b"] },
    };
    const split = {
      ...byteLevel,
      normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Lowercase" }, { type: "StripAccents" }] },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: "\\s+(?!\\S)|\\p{N}{1,3}" }, behavior: "Isolated", invert: false },
          { type: "Digits", individual_digits: true },
          { ...level, use_regex: false },
        ],
      },
    };
    const config = {
      bos_token: "<s>",
      eos_token: { content: "</s>", special: true },
      unk_token: "<unk>",
      add_bos_token: true,
      chat_template:
        "{% for message in messages %}[{{ message.role }}] {{ message.content }}{{ eos_token }}{% endfor %}",
      additional_special_tokens: ["<s>"],
      added_tokens_decoder: { 0: { content: "<unk>", special: true } },
    };
    const small = [sentencePiece, metaspace, unigram, wordPiece, byteLevel, split].map((json) => files(json, config));
    const file = (name: string): [string, Buffer] => [name, readFileSync(join(bundled, name))];
    const template: [string, Buffer] = ["chat_template.jinja", Buffer.from(config.chat_template)];
    return [
      ...small,
      new Map([...small[0]!, template]),
      new Map([file("tokenizer.json"), file("tokenizer_config.json")]),
    ];
  },
  run: async (dir) => {
    const tokenizer = Tokenizer.load(dir);
    const counts: number[] = [];
    for (const text of texts) counts.push(await checkText(tokenizer, text));
    if (tokenizer.chatTemplate !== null && rendered++ % RENDERED === 0) await render(tokenizer);
    return `${counts} ${tokenizer.vocabSize} ${tokenizer.specialIds.size} ${tokenizer.byteTable === null}`;
  },
};

function files(json: object, config: object) {
  return new Map([
    ["tokenizer.json", Buffer.from(JSON.stringify(json))],
    ["tokenizer_config.json", Buffer.from(JSON.stringify(config))],
  ]);
}

/** Ids are the vocabulary's, and their text is the same at once and token by token. Returns how many there are. */
async function checkText(tokenizer: Tokenizer, text: string): Promise<number> {
  let ids: number[];
  try {
    ids = [...(await tokenizer.encode(text)), ...(await tokenizer.encode(tokenizer.escapeSpecial(text)))];
  } catch (error) {
    if (EngineError.is(error) && error.code === "ERR_REQUEST") return -1;
    throw inText("encode", text, error);
  }
  const wrong = ids.find((id) => !Number.isInteger(id) || tokenizer.token(id) === undefined);
  if (wrong !== undefined) throw new Error(`"${text}" became the id ${wrong}`);
  try {
    const whole = tokenizer.decode([...ids, tokenizer.vocabSize + 7]);
    const detokenizer = new Detokenizer(tokenizer);
    const streamed = ids.map((id) => detokenizer.push(id)).join("") + detokenizer.flush();
    if (tokenizer.byteTable !== null && whole !== streamed) {
      throw new Error(`${JSON.stringify(whole)} at once, ${JSON.stringify(streamed)} token by token`);
    }
  } catch (error) {
    throw inText("decode", text, error);
  }
  return ids.length;
}

const inText = (what: string, text: string, cause: unknown) =>
  new Error(`${what} of ${JSON.stringify(text)}: ${(cause as Error).stack}`, { cause });

async function render(tokenizer: Tokenizer): Promise<void> {
  let template: ChatTemplate | undefined;
  try {
    template = ChatTemplate.compile(tokenizer.chatTemplate!, tokenizer.specialTokens);
    await template.render([{ role: "user", content: "hello" }]);
  } catch (error) {
    if (!EngineError.is(error) || !/_TEMPLATE$/.test(error.code)) throw error;
  } finally {
    await template?.close();
  }
}
