import { join } from "node:path";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { EngineError } from "../errors";
import { checkInsertions, textDecoder } from "./components";
import type { EncodeData, EncodeJob, Variant } from "./encode-program";
import { Sandbox, SandboxError } from "./sandbox/sandbox";
import { TokenBytes } from "./token-bytes";
import { fileError, type JsonObject, readTokenizerFiles, type TokenizerFiles } from "./tokenizer-files";
import { utf8Text, wellFormed } from "./utf8";
import { Vocabulary } from "./vocabulary";

/**
 * Longer texts leave the event loop's thread. Prose of this length takes about 5 ms, one character repeated 10 to 60 ms,
 * growing with the vocabulary.
 */
const INLINE_CHARS = 8_192;
const DEFAULT_MAX_CHARS = 1 << 22;
const ENCODE_DEADLINE_MS = 10_000;
/** 4 Mi characters without a break take about 1 GiB while they are merged. */
const ENCODE_HEAP_MIB = 2_048;

/** A noncharacter, which no text holds on purpose: `encode` takes it out after special tokens were matched. */
const BREAK = "\uFDD0";

export interface EncodeOptions {
  /** Add what the tokenizer puts around a sequence (BOS ...). Default true; false for rendered chat templates. */
  readonly addSpecialTokens?: boolean;
  /** Default true: strings of special tokens become those tokens. false: they are ordinary text. */
  readonly allowSpecial?: boolean;
  /** Characters (UTF-16 units) above which the text is refused untouched. Default 4 Mi. */
  readonly maxChars?: number;
}

export interface EncodeAsyncOptions extends EncodeOptions {
  /** Milliseconds that encoding a long text may take. Default 10 000. */
  readonly deadlineMs?: number;
}

export interface DecodeOptions {
  /** Default true: special tokens produce no text. */
  readonly skipSpecialTokens?: boolean;
}

/** Text to token ids and back, for one model directory. */
export class Tokenizer {
  /** Highest id plus one; a model may have more rows than this, whose ids stand for no text. */
  readonly vocabSize: number;
  readonly specialIds: ReadonlySet<number>;
  /** From tokenizer_config.json; generation_config.json may say otherwise. */
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  /** Jinja source; null where the model has none. */
  readonly chatTemplate: string | null;
  /** Special tokens by their names in tokenizer_config.json (bos_token, eos_token ...), for the chat template. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** null where the text of a token depends on its neighbours (WordPiece ...). */
  readonly byteTable: TokenBytes | null;
  private readonly vocabulary: Vocabulary;
  private readonly libraries: Readonly<Record<Variant, LibraryTokenizer>>;
  private readonly prefix: readonly number[];
  private readonly suffix: readonly number[];
  private readonly specialPattern: RegExp | null;
  private readonly sandbox: Sandbox;

  private constructor(files: TokenizerFiles) {
    const vocabulary = new Vocabulary(files);
    const { config, json, path } = files;
    checkInsertions(json, path);
    const full: JsonObject = {
      normalizer: json.normalizer ?? null,
      pre_tokenizer: json.pre_tokenizer ?? null,
      post_processor: json.post_processor ?? null,
      decoder: textDecoder(json.decoder ?? null, path),
      model: { ...vocabulary.model, type: vocabulary.modelType },
      added_tokens: vocabulary.addedTokens,
    };
    const hidden = vocabulary.withoutSpecial();
    const plain: JsonObject = { ...full, ...hidden, model: { ...hidden.model, type: vocabulary.modelType } };
    const libraryConfig = {
      eos_token: files.namedTokens.eos_token,
      remove_space: config.remove_space === true,
      do_lowercase_and_remove_accent: config.do_lowercase_and_remove_accent === true,
      // On by default in the library, and it changes text: decode(encode(text)) would not be text.
      clean_up_tokenization_spaces: false,
    };
    try {
      this.libraries = {
        full: new LibraryTokenizer(full, libraryConfig),
        plain: new LibraryTokenizer(plain, libraryConfig),
      };
      this.byteTable = TokenBytes.of(full.decoder, vocabulary);
    } catch (error) {
      throw fileError(path, (error as Error).message, error);
    }
    this.vocabulary = vocabulary;
    this.vocabSize = vocabulary.size;
    this.specialIds = vocabulary.specialIds;
    this.chatTemplate = files.chatTemplate;
    this.specialTokens = files.namedTokens;
    this.bosTokenId = vocabulary.id(files.namedTokens.bos_token ?? "") ?? null;
    const eos = vocabulary.id(files.namedTokens.eos_token ?? "");
    this.eosTokenIds = eos === undefined ? [] : [eos];
    [this.prefix, this.suffix] = this.frame(path, config.add_bos_token === true);
    const contents = vocabulary.specialContents.sort((a, b) => b.length - a.length);
    this.specialPattern =
      contents.length === 0 ? null : new RegExp(contents.map((content) => escapeRegExp(content)).join("|"), "g");
    this.sandbox = new Sandbox({
      program: join(__dirname, "encode-program"),
      data: (): EncodeData => ({ full: JSON.stringify(full), plain: JSON.stringify(plain), config: libraryConfig }),
      heapMiB: ENCODE_HEAP_MIB,
    });
  }

  /**
   * Reads tokenizer.json of a model directory and, where they are, tokenizer_config.json and chat_template.jinja.
   *
   * @throws EngineError ERR_TOKENIZER naming the file and what is wrong with it.
   */
  static load(dir: string): Tokenizer {
    return new Tokenizer(readTokenizerFiles(dir));
  }

  /**
   * Token ids of `text`. Runs on the calling thread; texts from clients belong to `encodeAsync`. Lone surrogates count as
   * U+FFFD.
   *
   * @throws EngineError ERR_TOO_LONG above `maxChars`; ERR_REQUEST where the library fails on the text.
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    const { variant, parts } = this.split(text, options);
    let ids: number[];
    try {
      ids = parts.flatMap((part) => this.libraries[variant].encode(part, { add_special_tokens: false }).ids);
    } catch (error) {
      throw new EngineError("ERR_REQUEST", `the text cannot be tokenized: ${(error as Error).message}`, {
        cause: error,
      });
    }
    return this.framed(ids, options);
  }

  /**
   * `encode` for texts of any length and content: a long text is encoded in a process of its own and never holds up the
   * event loop.
   *
   * @throws EngineError as `encode`; ERR_REQUEST also past `deadlineMs` or out of memory; ERR_OVERLOADED after 30 s
   *   behind other long texts; ERR_CLOSED after `close`.
   */
  async encodeAsync(text: string, options: EncodeAsyncOptions = {}): Promise<number[]> {
    if (text.length <= INLINE_CHARS) return this.encode(text, options);
    const job = this.split(text, options);
    try {
      const ids = (await this.sandbox.run(job, options.deadlineMs ?? ENCODE_DEADLINE_MS)) as Int32Array;
      return this.framed(Array.from(ids), options);
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      if (error.reason === "closed") throw new EngineError("ERR_CLOSED", "the model is closed", { cause: error });
      if (error.reason === "busy") throw new EngineError("ERR_OVERLOADED", error.message, { cause: error });
      if (error.reason === "start") throw new EngineError("ERR_TOKENIZER", error.message, { cause: error });
      throw new EngineError(
        "ERR_REQUEST",
        `a text of ${text.length} characters cannot be tokenized: ${error.message}`,
        {
          cause: error,
        },
      );
    }
  }

  /**
   * `text` marked so that `encode` takes the strings of special tokens in it as ordinary text, whatever it is embedded in:
   * for what users wrote, before a chat template is rendered around it. The marks are U+FDD0; `encode` drops them.
   */
  escapeSpecial(text: string): string {
    let escaped = text.replaceAll(BREAK, "");
    if (this.specialPattern === null) return escaped;
    // A break can lay bare a special token that overlaps the one broken.
    for (let before = ""; before !== escaped; ) {
      before = escaped;
      escaped = escaped.replace(this.specialPattern, ([first, ...rest]) =>
        rest.length === 0 ? "\uFFFD" : `${first}${BREAK}${rest.join("")}`,
      );
    }
    return escaped;
  }

  /** `text` without the marks of `escapeSpecial`, for people to read. */
  static unescape(text: string): string {
    return text.replaceAll(BREAK, "");
  }

  /**
   * The text of a sequence of ids. Ids that no token has produce none; bytes that are no UTF-8 become U+FFFD.
   *
   * @throws EngineError ERR_TOKENIZER where the library's decoder fails; never where there is a byte table.
   */
  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const { skipSpecialTokens = true } = options;
    const kept = ids.filter(
      (id) => this.vocabulary.token(id) !== undefined && !(skipSpecialTokens && this.specialIds.has(id)),
    );
    if (this.byteTable === null) return kept.length === 0 ? "" : this.libraryText(kept);
    const bytes = this.byteTable.join(kept);
    let start = 0;
    while (start < this.byteTable.leadingSpaces && bytes[start] === SPACE) start++;
    return utf8Text(bytes.subarray(start));
  }

  /** The bytes a token stands for, not to be written to: a part of a character at times, none for an unknown id. */
  tokenBytes(id: number): Uint8Array {
    return this.byteTable?.bytes(id) ?? Buffer.from(this.decode([id], { skipSpecialTokens: false }));
  }

  /** The vocabulary's own spelling of a token; undefined for an id that no token has. */
  token(id: number): string | undefined {
    return this.vocabulary.token(id);
  }

  /** Id of the token with exactly this content. */
  tokenId(content: string): number | undefined {
    return this.vocabulary.id(content);
  }

  /** Ends the process that encodes long texts. */
  close(): Promise<void> {
    return this.sandbox.close();
  }

  private libraryText(ids: number[]): string {
    try {
      return this.libraries.full.decode(ids);
    } catch (error) {
      throw new EngineError("ERR_TOKENIZER", `the decoder fails on these tokens: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  private split(text: string, options: EncodeOptions): EncodeJob {
    const { allowSpecial = true, maxChars = DEFAULT_MAX_CHARS } = options;
    if (text.length > maxChars) {
      throw new EngineError(
        "ERR_TOO_LONG",
        `the text has ${text.length} characters, more than the ${maxChars} allowed`,
      );
    }
    const clean = wellFormed(text);
    return allowSpecial ? { variant: "full", parts: clean.split(BREAK) } : { variant: "plain", parts: [clean] };
  }

  private framed(ids: number[], options: EncodeOptions): number[] {
    return (options.addSpecialTokens ?? true) ? [...this.prefix, ...ids, ...this.suffix] : ids;
  }

  /** What the post-processor puts before and after a sequence. */
  private frame(path: string, addBos: boolean): [number[], number[]] {
    const probe = "probe";
    const processor = this.libraries.full.post_processor;
    let tokens: string[];
    try {
      tokens = processor?.post_process([probe], null, true).tokens ?? [probe];
    } catch (error) {
      throw fileError(path, `post_processor fails: ${(error as Error).message}`, error);
    }
    const idOf = (token: string): number => {
      const id = this.vocabulary.id(token);
      if (id === undefined) throw fileError(path, `post_processor adds "${token}", which is not in the vocab`);
      return id;
    };
    const at = tokens.indexOf(probe);
    if (at < 0) throw fileError(path, "post_processor leaves out the text");
    const prefix = tokens.slice(0, at).map(idOf);
    if (addBos && this.bosTokenId !== null && prefix[0] !== this.bosTokenId) prefix.unshift(this.bosTokenId);
    return [prefix, tokens.slice(at + 1).map(idOf)];
  }
}

const SPACE = 0x20;

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
