import type { TokenBytes } from "./token-bytes";
import type { Tokenizer } from "./tokenizer";
import { unfinishedTail, utf8Text } from "./utf8";

const SPACE = 0x20;
const NO_BYTES = new Uint8Array();
const REPLACEMENT = "\uFFFD";
/** A run of tokens whose text ends in U+FFFD is given out at this length: the character will not be completed any more. */
const MAX_HELD_TOKENS = 8;

export interface DetokenizerOptions {
  /** Default true: special tokens produce no text. */
  readonly skipSpecialTokens?: boolean;
  /** The tokens before the first one pushed: a space that marks the start of a word is then text and is kept. */
  readonly context?: readonly number[];
}

/** Turns a stream of token ids into pieces of text that never split a character and are never taken back. */
export class Detokenizer {
  private readonly tokenizer: Tokenizer;
  private readonly skipSpecialTokens: boolean;
  private readonly stream: ByteStream | WindowStream;

  /** Without `context`, all pieces and the flush joined are `tokenizer.decode` of all ids. */
  constructor(tokenizer: Tokenizer, options: DetokenizerOptions = {}) {
    this.tokenizer = tokenizer;
    this.skipSpecialTokens = options.skipSpecialTokens ?? true;
    const context = (options.context ?? []).slice(-MAX_HELD_TOKENS).filter((id) => this.hasText(id));
    this.stream =
      tokenizer.byteTable === null
        ? new WindowStream(tokenizer, context)
        : new ByteStream(tokenizer.byteTable, context.length === 0);
  }

  /** The text that is certain with this token; often empty within a character. */
  push(id: number): string {
    return this.hasText(id) ? this.stream.push(id) : "";
  }

  /** What is left at the end of the stream: U+FFFD for a character that was not completed. */
  flush(): string {
    return this.stream.flush();
  }

  private hasText(id: number): boolean {
    return !(this.skipSpecialTokens && this.tokenizer.specialIds.has(id)) && Boolean(this.tokenizer.token(id));
  }
}

/** Joins the bytes of tokens and gives out complete characters; constant work per token. */
class ByteStream {
  private readonly table: TokenBytes;
  private atStart: boolean;
  private leadingSpaces: number;
  /** The beginning of a character, at most 3 bytes. */
  private pending: Uint8Array = NO_BYTES;

  constructor(table: TokenBytes, atStart: boolean) {
    this.table = table;
    this.atStart = atStart && table.hasStart;
    this.leadingSpaces = this.atStart ? table.leadingSpaces : 0;
  }

  push(id: number): string {
    if (!this.atStart && this.leadingSpaces === 0 && this.pending.length === 0) {
      const text = this.table.wholeText(id);
      if (text !== null) return text;
    }
    const bytes = this.withoutMarker(this.atStart ? this.table.firstBytes(id) : this.table.bytes(id));
    this.atStart = false;
    const joined = new Uint8Array(this.pending.length + bytes.length);
    joined.set(this.pending);
    joined.set(bytes, this.pending.length);
    const end = joined.length - unfinishedTail(joined);
    this.pending = joined.subarray(end);
    return utf8Text(joined.subarray(0, end));
  }

  flush(): string {
    const rest = utf8Text(this.pending);
    this.pending = NO_BYTES;
    return rest;
  }

  private withoutMarker(bytes: Uint8Array): Uint8Array {
    let start = 0;
    while (start < bytes.length && this.leadingSpaces > 0) {
      if (bytes[start] === SPACE) {
        start++;
        this.leadingSpaces--;
      } else {
        this.leadingSpaces = 0;
      }
    }
    return bytes.subarray(start);
  }
}

/**
 * For decoders that look at neighbours: decodes a window of the last tokens with and without the new ones, and gives out
 * the difference.
 */
class WindowStream {
  private readonly tokenizer: Tokenizer;
  private window: number[];
  /** Tokens at the window's start whose text was given out already, and the length of that text within the window. */
  private given: number;
  private givenChars: number;

  constructor(tokenizer: Tokenizer, context: readonly number[]) {
    this.tokenizer = tokenizer;
    this.window = [...context];
    this.given = context.length;
    this.givenChars = this.text().length;
  }

  push(id: number): string {
    this.window.push(id);
    const text = this.text();
    const held = this.window.length - this.given;
    if (text.length <= this.givenChars || (text.endsWith(REPLACEMENT) && held < MAX_HELD_TOKENS)) return "";
    const piece = text.slice(this.givenChars);
    this.window = this.window.slice(this.given);
    this.given = this.window.length;
    this.givenChars = this.text().length;
    return piece;
  }

  flush(): string {
    const piece = this.text().slice(this.givenChars);
    this.window = this.window.slice(this.given);
    this.given = this.window.length;
    this.givenChars = this.text().length;
    return piece;
  }

  private text(): string {
    return this.tokenizer.decode(this.window, { skipSpecialTokens: false });
  }
}
