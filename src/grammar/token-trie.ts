import { LRUCache } from "lru-cache";
import type { Memory } from "./memory";

/** The tokens of a model, as constraints see them. */
export interface Tokens {
  /** Width of the logits; ids from `size` of the tokenizer on have no bytes. */
  readonly size: number;
  /** What a token stands for; empty where there is no such token. */
  bytes(id: number): Uint8Array;
  /** Tokens that stand for no text whatever their bytes: never allowed, but for those that end a text. */
  readonly specialIds: ReadonlySet<number>;
  /** Tokens that end a text. */
  readonly endIds: readonly number[];
}

/** Allowed tokens, and what it took to find them. */
export interface Mask {
  /** A bit for each token, the lowest first. */
  readonly words: Int32Array;
  /** Where a token may go on in another rule: a node of the trie, and the state there; null = remembered is what was before. */
  readonly exits: readonly { readonly node: number; readonly state: number; readonly memory: Memory | null }[];
  /** Nodes that were looked at. */
  readonly work: number;
}

/** Memory for masks of one model, all constraints together. */
const MASK_BYTES = 64 << 20;

/**
 * All tokens in one tree by their bytes, in the order of a walk: a node's children come after it, and `end` is the first
 * node that is no longer below it. Built once for each model; about 20 bytes a node.
 */
export class TokenTrie {
  readonly size: number;
  /** 32-bit words of a mask. */
  readonly words: number;
  readonly endIds: readonly number[];
  /** Node 0 is the root, the empty text. */
  readonly byte: Uint8Array;
  readonly depth: Int32Array;
  readonly end: Int32Array;
  /** Tokens of node i: ids[firstToken[i]] to ids[firstToken[i + 1]]. */
  readonly firstToken: Int32Array;
  readonly ids: Int32Array;
  /** 1 for each byte that is a token by itself. */
  readonly alphabet = new Uint8Array(256);
  /** Bytes of the longest token. */
  readonly longest: number;
  /** Masks of all constraints on these tokens. */
  readonly masks = new LRUCache<string, Mask>({
    maxSize: MASK_BYTES,
    sizeCalculation: ({ words, exits }) => 4 * words.length + 40 * exits.length + 200,
  });
  private readonly tokens: Tokens;
  private readonly excluded: ReadonlySet<number>;

  constructor(tokens: Tokens) {
    this.tokens = tokens;
    this.size = tokens.size;
    this.words = Math.ceil(tokens.size / 32);
    this.endIds = tokens.endIds;
    this.excluded = new Set([...tokens.specialIds, ...tokens.endIds]);
    const known: [string, number][] = [];
    for (let id = 0; id < tokens.size; id++) {
      const bytes = this.bytes(id);
      // As a string of characters below 256, which sorts in the order of its bytes.
      if (bytes.length > 0) known.push([Buffer.from(bytes).toString("latin1"), id]);
      if (bytes.length === 1) this.alphabet[bytes[0]!] = 1;
    }
    known.sort(([a, idA], [b, idB]) => (a < b ? -1 : a > b ? 1 : idA - idB));
    this.ids = Int32Array.from(known, ([, id]) => id);

    const byte = [0];
    const depth = [0];
    const firstToken = [0];
    const end = [0];
    const path = [0];
    let previous = "";
    known.forEach(([text], index) => {
      let shared = 0;
      while (shared < previous.length && text[shared] === previous[shared]) shared++;
      for (const node of path.splice(shared + 1)) end[node] = byte.length;
      for (let i = shared; i < text.length; i++) {
        path.push(byte.length);
        byte.push(text.charCodeAt(i));
        depth.push(i + 1);
        firstToken.push(index);
      }
      previous = text;
    });
    for (const node of path) end[node] = byte.length;
    firstToken.push(known.length);
    this.byte = Uint8Array.from(byte);
    this.depth = Int32Array.from(depth);
    this.end = Int32Array.from(end);
    this.firstToken = Int32Array.from(firstToken);
    this.longest = depth.reduce((a, b) => Math.max(a, b));
  }

  /** The text of a token; empty for those that are never allowed as text. */
  bytes(id: number): Uint8Array {
    return this.excluded.has(id) ? new Uint8Array() : this.tokens.bytes(id);
  }

  isEnd(id: number): boolean {
    return this.endIds.includes(id);
  }

  /** Sets the bits of a node's tokens. */
  allow(words: Int32Array, node: number): void {
    const end = this.firstToken[node + 1]!;
    for (let i = this.firstToken[node]!; i < end; i++) {
      const id = this.ids[i]!;
      words[id >>> 5]! |= 1 << (id & 31);
    }
  }
}
