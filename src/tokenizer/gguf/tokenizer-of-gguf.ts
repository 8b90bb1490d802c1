import { GgufFile } from "../../gguf/gguf-file";
import { fileError, type JsonObject, type TokenizerFiles } from "../tokenizer-files";
import { preTokenizers } from "./pre-tokenizers";
import { sentencePiece } from "./sentencepiece";

/** Longest piece that merges are looked for in: as long as it is, so many cuts it has. */
const MAX_PIECE_CHARS = 1024;

/** Kinds of tokens (ggml's tokenizer.ggml.token_type). */
const kinds = { unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Names of transformers, by those in keys of the file; one is misspelt there. */
const namedTokens: Readonly<Record<string, string>> = {
  bos_token: "bos",
  eos_token: "eos",
  unk_token: "unknown",
  sep_token: "seperator",
  pad_token: "padding",
  cls_token: "cls",
  mask_token: "mask",
};

/** Tokens of a file by id; null for ids that only fill the table up. */
interface Tokens {
  readonly texts: readonly string[];
  readonly types: readonly number[];
  readonly ids: ReadonlyMap<string, number>;
}

/**
 * The tokenizer of a file in GGUF, as tokenizer.json and tokenizer_config.json would have it: byte-level BPE of the pre-tokenizers that
 * are known, and SentencePiece's BPE.
 *
 * @throws EngineError ERR_TOKENIZER naming the file and the key; ERR_WEIGHTS for a damaged file.
 */
export function tokenizerOfGguf(path: string): TokenizerFiles {
  const file = GgufFile.open(path);
  const reader = new TokenizerReader(file);
  const tokens = reader.tokens();
  const named = reader.named(tokens);
  const { json, addBos } = reader.model(tokens, named);
  const added = [...tokens.ids].filter(([, id]) => isAdded(tokens.types[id]!));
  const isSpecial = (id: number) => tokens.types[id] !== kinds.userDefined;
  return {
    path,
    json: {
      ...json,
      added_tokens: added.map(([content, id]) => ({ id, content, special: isSpecial(id), normalized: false })),
      post_processor: reader.flag("add_eos_token", false) ? endingWith(named.eos_token) : null,
    },
    config: { add_bos_token: reader.flag("add_bos_token", addBos) },
    namedTokens: named,
    specialContents: [...added.filter(([, id]) => isSpecial(id)).map(([content]) => content), ...Object.values(named)],
    chatTemplate: file.text("tokenizer.chat_template") ?? null,
  };
}

const isAdded = (type: number) => type === kinds.control || type === kinds.userDefined || type === kinds.unknown;

function endingWith(eos: string | undefined): JsonObject | null {
  if (eos === undefined) return null;
  return {
    type: "TemplateProcessing",
    single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: eos, type_id: 0 } }],
    special_tokens: { [eos]: { id: eos, tokens: [eos] } },
  };
}

/** Keys under tokenizer.ggml, checked. */
class TokenizerReader {
  constructor(private readonly file: GgufFile) {}

  tokens(): Tokens {
    const texts = this.list("tokens", (value): value is string => typeof value === "string", "strings");
    const isInteger = (value: unknown): value is number => Number.isInteger(value);
    const types = this.has("token_type")
      ? this.list("token_type", isInteger, "integers")
      : new Array<number>(texts.length).fill(1);
    if (types.length !== texts.length)
      this.reject("token_type", `${texts.length} integers, as there are tokens`, types.length);
    const ids = new Map<string, number>();
    texts.forEach((text, id) => {
      // What fills the table up to the rows of the embedding stands for no text.
      if (types[id] === kinds.unused || text === "") return;
      const other = ids.get(text);
      if (other !== undefined)
        this.reject("tokens", `different tokens for ids ${other} and ${id}`, JSON.stringify(text));
      ids.set(text, id);
    });
    return { texts, types, ids };
  }

  /** Texts of tokens that have a role, by transformers' names for these. */
  named({ texts }: Tokens): Record<string, string> {
    const named: Record<string, string> = {};
    for (const [name, key] of Object.entries(namedTokens)) {
      const id = this.value(`${key}_token_id`);
      if (id === undefined) continue;
      const text = typeof id === "number" ? texts[id] : undefined;
      if (text === undefined)
        return this.reject(`${key}_token_id`, `an id below the ${texts.length} tokens`, String(id));
      named[name] = text;
    }
    return named;
  }

  /** What tokenizer.json has but for added tokens. `addBos` counts where the file does not say. */
  model(tokens: Tokens, named: Readonly<Record<string, string>>): { json: JsonObject; addBos: boolean } {
    const model = this.value("model");
    switch (model) {
      case "gpt2":
        return this.byteLevel(tokens);
      case "llama":
        return { json: this.pieces(tokens, named), addBos: true };
      default:
        return this.reject(
          "model",
          `"gpt2" or "llama" (other tokenizers are not read from GGUF)`,
          JSON.stringify(model),
        );
    }
  }

  private byteLevel({ ids }: Tokens): { json: JsonObject; addBos: boolean } {
    const pre = this.value("pre");
    const known = typeof pre === "string" && Object.hasOwn(preTokenizers, pre) ? preTokenizers[pre] : undefined;
    if (known === undefined) {
      const expected = `one of ${Object.keys(preTokenizers).join(", ")}`;
      return this.reject("pre", expected, pre === undefined ? "nothing" : JSON.stringify(pre));
    }
    const merges = this.list("merges", (value): value is string => typeof value === "string", "strings");
    const { normalizer, preTokenizer, ignoreMerges, addBos } = known;
    return {
      json: {
        normalizer,
        pre_tokenizer: preTokenizer,
        decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
        model: { type: "BPE", vocab: Object.fromEntries(ids), merges, ignore_merges: ignoreMerges },
      },
      addBos,
    };
  }

  private pieces(tokens: Tokens, { unk_token: unknown = null }: Readonly<Record<string, string | null>>): JsonObject {
    const { ids, texts, types } = tokens;
    const scores = this.list("scores", (value): value is number => typeof value === "number", "numbers");
    if (scores.length !== texts.length)
      this.reject("scores", `${texts.length} numbers, as there are tokens`, scores.length);
    const mergeable = (id: number) => types[id] === 1 && texts[id]!.length <= MAX_PIECE_CHARS;
    return sentencePiece(ids, scores, mergeable, { unknown, spaceBefore: this.flag("add_space_prefix", true) });
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.value(name) ?? fallback;
    return typeof value === "boolean" ? value : this.reject(name, "true or false", String(value));
  }

  private has(name: string): boolean {
    return this.value(name) !== undefined;
  }

  private value(name: string) {
    return this.file.value(`tokenizer.ggml.${name}`);
  }

  private list<T>(name: string, check: (value: unknown) => value is T, of: string): readonly T[] {
    const value = this.value(name);
    if (!Array.isArray(value))
      return this.reject(name, `a list of ${of}`, value === undefined ? "nothing" : String(value));
    return value.every(check) ? value : this.reject(name, `a list of ${of}`, "a list of something else");
  }

  private reject(name: string, expected: string, got: string | number): never {
    throw fileError(
      this.file.path,
      `tokenizer.ggml.${name}: expected ${expected}, got ${got}; convert the model again`,
    );
  }
}
