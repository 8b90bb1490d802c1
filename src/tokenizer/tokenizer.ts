import { join } from "node:path";
import { Tokenizer as Library } from "tokenizers";
import { EngineError, type ErrorDetails } from "../errors";
import { isGguf } from "../gguf/gguf-file";
import { checkComponents } from "./components";
import { encodeParts } from "./encode-parts";
import type { EncodeData, EncodeJob } from "./encode-program";
import { tokenizerOfGguf } from "./gguf/tokenizer-of-gguf";
import { type Frame, frameOf } from "./post-processor";
import { Sandbox, SandboxError } from "./sandbox/sandbox";
import { anyOf } from "./special-pattern";
import { type TokenBound, tokenBound } from "./token-bound";
import { TokenBytes } from "./token-bytes";
import { fileError, type JsonObject, readTokenizerFiles, type TokenizerFiles } from "./tokenizer-files";
import { utf8Text } from "./utf8";
import { Vocabulary } from "./vocabulary";

/** Longer texts are encoded in a process of their own. One of this length takes some 2 ms of a thread. */
const INLINE_CHARS = 8_192;
const DEFAULT_MAX_CHARS = 1 << 22;
const ENCODE_DEADLINE_MS = 10_000;
/** The ids of 4 Mi characters on their way take some 100 MiB; what computes them is not in this heap. */
const ENCODE_HEAP_MIB = 1_024;
/**
 * Texts up to LARGE_CHARS run side by side and share the processors. Of those beyond only two do: each takes up to a second
 * for a million characters, and a gigabyte.
 */
const LARGE_CHARS = 1 << 18;
const LANES = [14, 2];

/** A noncharacter, which no text holds on purpose: `encode` takes it out after special tokens were matched. */
const BREAK = "\uFDD0";

export interface EncodeOptions {
  /** Add what the tokenizer puts around a sequence (BOS ...). Default true; false for rendered chat templates. */
  readonly addSpecialTokens?: boolean;
  /** Characters (UTF-16 units) above which the text is refused untouched. Default 4 Mi. */
  readonly maxChars?: number;
  /** A text that has more tokens for certain, by its length and that of the longest token, is refused untouched. */
  readonly maxTokens?: number;
  /** Only so many ids at the end of the text are wanted. Default all. */
  readonly keepLast?: number;
  /** Milliseconds that encoding a long text may take. Default 10 000. */
  readonly deadlineMs?: number;
  /** The field of the request that errors name. */
  readonly subject?: string;
}

export interface DecodeOptions {
  /** Default true: special tokens produce no text. */
  readonly skipSpecialTokens?: boolean;
}

/** Text to token ids and back, for one model directory; what text becomes is up to Hugging Face's own library. */
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
  private readonly library: Library;
  private readonly frame: Frame;
  private readonly specialPattern: RegExp | null;
  /** The strings of special tokens as text that is none. */
  private readonly broken: ReadonlyMap<string, string>;
  private readonly bound: TokenBound;
  private readonly sandbox: Sandbox;

  private constructor(files: TokenizerFiles) {
    const vocabulary = new Vocabulary(files);
    const { config, path } = files;
    checkComponents(files.json, path);
    // Without truncation and padding, and without the post-processor, which is applied here.
    const json: JsonObject = {
      version: "1.0",
      normalizer: files.json.normalizer ?? null,
      pre_tokenizer: files.json.pre_tokenizer ?? null,
      decoder: files.json.decoder ?? null,
      model: { ...vocabulary.model, type: vocabulary.modelType },
      // In the order of their ids, by which the library numbers those that the model lacks.
      added_tokens: vocabulary.addedTokens.map(toAddedToken).sort((a, b) => a.id - b.id),
    };
    const text = JSON.stringify(json);
    this.library = load(text, vocabulary, path);
    this.byteTable = TokenBytes.of(json.decoder, vocabulary);
    this.vocabulary = vocabulary;
    this.vocabSize = vocabulary.size;
    this.specialIds = vocabulary.specialIds;
    this.chatTemplate = files.chatTemplate;
    this.specialTokens = files.namedTokens;
    this.bosTokenId = vocabulary.id(files.namedTokens.bos_token ?? "") ?? null;
    const eos = vocabulary.id(files.namedTokens.eos_token ?? "");
    this.eosTokenIds = eos === undefined ? [] : [eos];
    this.frame = frameOf(files.json.post_processor, (token) => vocabulary.id(token), path);
    if (config.add_bos_token === true && this.bosTokenId !== null && this.frame.prefix[0] !== this.bosTokenId) {
      this.frame = { ...this.frame, prefix: [this.bosTokenId, ...this.frame.prefix] };
    }
    this.specialPattern = anyOf(vocabulary.specialContents);
    this.broken = new Map(vocabulary.specialContents.map((token) => [token, broken(token)]));
    this.bound = tokenBound(json, vocabulary);
    this.sandbox = new Sandbox({
      program: join(__dirname, "encode-program"),
      data: (): EncodeData => text,
      heapMiB: ENCODE_HEAP_MIB,
      lanes: LANES,
    });
  }

  /**
   * Reads tokenizer.json of a model directory and, where they are, tokenizer_config.json and chat_template.jinja; or what a file
   * in GGUF has in their place.
   *
   * @throws EngineError ERR_TOKENIZER naming the file and what is wrong with it.
   */
  static load(path: string): Tokenizer {
    return new Tokenizer(isGguf(path) ? tokenizerOfGguf(path) : readTokenizerFiles(path));
  }

  /**
   * Token ids of `text`, which may have any length and content: none is encoded on the event loop's thread, and a long one
   * in a process of its own. Lone surrogates count as U+FFFD.
   *
   * @throws EngineError ERR_TOO_LONG above `maxChars` or `maxTokens`; ERR_REQUEST where the library fails on the text, and
   *   past `deadlineMs`; ERR_OVERLOADED after 30 s behind other long texts; ERR_CLOSED after `close`.
   */
  async encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    this.checkLength(text, options);
    const parts = text.toWellFormed().split(BREAK);
    const ids =
      text.length <= INLINE_CHARS
        ? await this.encodeHere(parts, options)
        : await this.encodeApart(parts, text, options);
    const { prefix, suffix } = this.frame;
    const { addSpecialTokens = true, keepLast = Number.POSITIVE_INFINITY } = options;
    const all = addSpecialTokens && prefix.length + suffix.length > 0 ? [...prefix, ...ids, ...suffix] : ids;
    return all.length <= keepLast ? all : all.slice(-keepLast);
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
      escaped = escaped.replace(this.specialPattern, (token) => this.broken.get(token)!);
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
    return utf8Text(this.byteTable.join(kept));
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

  private checkLength(text: string, options: EncodeOptions): void {
    const { maxChars = DEFAULT_MAX_CHARS, maxTokens } = options;
    if (text.length > maxChars) {
      const message = `the text has ${text.length} characters, more than the ${maxChars} allowed`;
      throw new EngineError("ERR_TOO_LONG", message, ofField(options));
    }
    const least = maxTokens === undefined ? 0 : this.bound(text);
    if (maxTokens !== undefined && least > maxTokens) {
      const message = `a text of ${text.length} characters has at least ${least} tokens, more than the ${maxTokens} allowed`;
      throw new EngineError("ERR_TOO_LONG", message, ofField(options));
    }
  }

  private async encodeHere(parts: readonly string[], options: EncodeOptions): Promise<number[]> {
    try {
      return await encodeParts(this.library, parts);
    } catch (error) {
      const message = `the text cannot be tokenized: ${(error as Error).message}`;
      throw new EngineError("ERR_REQUEST", message, { ...ofField(options), cause: error });
    }
  }

  private async encodeApart(parts: readonly string[], text: string, options: EncodeOptions): Promise<number[]> {
    const lane = text.length <= LARGE_CHARS ? 0 : 1;
    try {
      const job: EncodeJob = { parts, keepLast: options.keepLast ?? Number.POSITIVE_INFINITY };
      return toArray((await this.sandbox.run(job, options.deadlineMs ?? ENCODE_DEADLINE_MS, lane)) as Int32Array);
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      if (error.reason === "closed") throw new EngineError("ERR_CLOSED", "the model is closed", { cause: error });
      if (error.reason === "busy") throw new EngineError("ERR_OVERLOADED", error.message, { cause: error });
      if (error.reason === "start") throw new EngineError("ERR_TOKENIZER", error.message, { cause: error });
      const message = `a text of ${text.length} characters cannot be tokenized: ${error.message}`;
      throw new EngineError("ERR_REQUEST", message, { ...ofField(options), cause: error });
    }
  }

  private libraryText(ids: readonly number[]): string {
    const tokens = ids.map((id) => this.vocabulary.token(id)!);
    try {
      return this.library.getDecoder()?.decode(tokens) ?? tokens.join(" ");
    } catch (error) {
      const message = `the decoder fails on these tokens: ${(error as Error).message}`;
      throw new EngineError("ERR_TOKENIZER", message, { cause: error });
    }
  }
}

const ofField = ({ subject }: EncodeOptions): ErrorDetails => (subject === undefined ? {} : { subject });

/** In a seventh of the time of Array.from: for two million ids 20 ms of the event loop instead of 150. */
function toArray(ids: Int32Array): number[] {
  const array = new Array<number>(ids.length);
  for (let i = 0; i < ids.length; i++) array[i] = ids[i]!;
  return array;
}

function broken(token: string): string {
  const [first, ...rest] = token;
  return rest.length === 0 ? "\uFFFD" : `${first}${BREAK}${rest.join("")}`;
}

/** The library, with every token under the id that the file gives it. */
function load(json: string, vocabulary: Vocabulary, path: string): Library {
  let library: Library;
  try {
    library = Library.fromString(json);
  } catch (error) {
    throw fileError(path, (error as Error).message, error);
  }
  for (const { id, content } of vocabulary.addedTokens) {
    const given = library.tokenToId(content);
    if (given !== id)
      throw fileError(path, `added token ${JSON.stringify(content)}: its id is ${id}, the next free one ${given}`);
  }
  return library;
}

/** An added token with all the fields that the library asks for. */
function toAddedToken({ id, content, single_word, lstrip, rstrip, normalized, special }: JsonObject & { id: number }) {
  return {
    id,
    content,
    single_word: single_word === true,
    lstrip: lstrip === true,
    rstrip: rstrip === true,
    normalized: normalized === undefined ? special !== true : normalized === true,
    special: special === true,
  };
}
