import { isObject } from "../json/value";
import type { JsonObject } from "./tokenizer-files";
import { unfinishedTail, utf8Text } from "./utf8";
import type { Vocabulary } from "./vocabulary";

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;
const SPACE = 0x20;
const utf8 = new TextEncoder();

/** How a decoder turns one token into bytes, and what it takes off the start of the text. */
interface ByteDecoder {
  readonly bytesOf: (token: string, added: boolean) => Uint8Array;
  /** The mark of a Metaspace, which is nothing in the first token. */
  readonly mark: string | null;
  readonly leadingSpaces: number;
}

/**
 * The bytes each token id stands for, in one buffer. The text of a sequence is the UTF-8 text of its tokens' bytes joined,
 * the first token's without marks, less `leadingSpaces` spaces at its start.
 */
export class TokenBytes {
  /** At most this many spaces at the start of a text are markers of a word's beginning, not text. */
  readonly leadingSpaces: number;
  private readonly data: Uint8Array;
  private readonly offsets: Uint32Array;
  private readonly texts: (string | null | undefined)[] = [];

  private constructor(
    private readonly vocabulary: Vocabulary,
    private readonly decoder: ByteDecoder,
  ) {
    this.leadingSpaces = decoder.leadingSpaces;
    const { size } = vocabulary;
    const parts: Uint8Array[] = [];
    this.offsets = new Uint32Array(size + 1);
    for (let id = 0; id < size; id++) {
      const token = vocabulary.token(id);
      const bytes = token === undefined ? new Uint8Array() : decoder.bytesOf(token, vocabulary.addedIds.has(id));
      parts.push(bytes);
      this.offsets[id + 1] = this.offsets[id]! + bytes.length;
    }
    this.data = new Uint8Array(this.offsets[size]!);
    parts.forEach((bytes, id) => {
      this.data.set(bytes, this.offsets[id]);
    });
  }

  /** null for a decoder whose tokens have no bytes of their own, as where a token's text depends on its neighbours. */
  static of(decoder: unknown, vocabulary: Vocabulary): TokenBytes | null {
    const byteDecoder = isObject(decoder) ? byteDecoderOf(decoder) : null;
    return byteDecoder === null ? null : new TokenBytes(vocabulary, byteDecoder);
  }

  /** A view, not to be written to; empty for an id that no token has. */
  bytes(id: number): Uint8Array {
    return this.data.subarray(this.offsets[id] ?? 0, this.offsets[id + 1] ?? 0);
  }

  /** Whether a token at the start of a text may stand for other bytes than elsewhere. */
  get hasStart(): boolean {
    return this.decoder.mark !== null || this.leadingSpaces > 0;
  }

  /** The bytes of the first token of a text; `leadingSpaces` are still to be taken off. */
  firstBytes(id: number): Uint8Array {
    const { mark, bytesOf } = this.decoder;
    const token = this.vocabulary.token(id);
    if (mark === null || token === undefined || !token.includes(mark)) return this.bytes(id);
    return bytesOf(token.replaceAll(mark, ""), this.vocabulary.addedIds.has(id));
  }

  /** The text of a token that follows a complete character; null where it leaves a character unfinished. */
  wholeText(id: number): string | null {
    const known = this.texts[id];
    if (known !== undefined) return known;
    const bytes = this.bytes(id);
    const text = unfinishedTail(bytes) === 0 ? utf8Text(bytes) : null;
    if (bytes.length > 0) this.texts[id] = text;
    return text;
  }

  /** The bytes of a sequence. */
  join(ids: readonly number[]): Uint8Array {
    const parts = ids.map((id, index) => (index === 0 ? this.firstBytes(id) : this.bytes(id)));
    const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
    let start = 0;
    while (start < this.leadingSpaces && joined[start] === SPACE) start++;
    return joined.subarray(start);
  }
}

function byteDecoderOf(decoder: JsonObject): ByteDecoder | null {
  const steps = decoder.type === "Sequence" ? decoder.decoders : [decoder];
  if (!Array.isArray(steps) || !steps.every(isObject)) return null;
  if (steps.length === 1 && steps[0]?.type === "ByteLevel")
    return { bytesOf: byteLevelBytes, mark: null, leadingSpaces: 0 };

  // The SentencePiece family: replacements in each token, then byte tokens, then whole-text steps.
  const replacements: [string, string][] = [];
  let byteTokens = false;
  let fused = false;
  let mark: string | null = null;
  let leadingSpaces = 0;
  for (const step of steps) {
    const perToken = !fused && !byteTokens;
    if (step.type === "Metaspace" && perToken) {
      const replacement = typeof step.replacement === "string" ? step.replacement : "\u2581";
      replacements.push([replacement, " "]);
      if (step.prepend_scheme !== "never" && step.add_prefix_space !== false) mark = replacement;
    } else if (
      step.type === "Replace" &&
      perToken &&
      isObject(step.pattern) &&
      typeof step.pattern.String === "string"
    ) {
      replacements.push([step.pattern.String, String(step.content ?? "")]);
    } else if (step.type === "ByteFallback" && perToken) {
      byteTokens = true;
    } else if (step.type === "Fuse") {
      fused = true;
    } else if (step.type === "Strip" && fused && step.content === " " && !step.stop && Number.isInteger(step.start)) {
      leadingSpaces += step.start as number;
    } else {
      return null;
    }
  }
  const bytesOf = (token: string): Uint8Array => {
    const text = replacements.reduce((result, [from, to]) => result.replaceAll(from, to), token);
    const byte = byteTokens ? BYTE_TOKEN.exec(text)?.[1] : undefined;
    return byte === undefined ? utf8.encode(text) : Uint8Array.of(Number.parseInt(byte, 16));
  };
  return { bytesOf, mark, leadingSpaces };
}

/**
 * GPT-2's alphabet, which gives every byte a printable character: itself where it has one, else the next character from
 * U+0100 on.
 */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const table = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    table.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return table;
})();

/** Added tokens are literal text; so is a token with characters outside the alphabet. */
function byteLevelBytes(token: string, added: boolean): Uint8Array {
  if (added) return utf8.encode(token);
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter.get(token[i]!);
    if (byte === undefined) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}
