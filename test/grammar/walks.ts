/** Vocabularies for constraints, and texts made at random from what a mask allows. */
import { resolve } from "node:path";
import type { ConstraintState, TokenConstraint } from "../../src/grammar/constraint";
import type { Readings } from "../../src/grammar/readings";
import { TokenTrie } from "../../src/grammar/token-trie";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import type { Rng } from "../helpers/rng";

const encoder = new TextEncoder();
const allBytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

/** Tokens by number: those of `bytes`, then the texts, then one that is special and one that ends a text. */
export function vocabularyOf(texts: readonly string[], bytes: readonly Uint8Array[] = allBytes): TokenTrie {
  const tokens = [
    ...bytes,
    ...texts.map((text) => encoder.encode(text)),
    encoder.encode("<pad>"),
    encoder.encode("</s>"),
  ];
  const end = tokens.length - 1;
  return new TokenTrie({
    size: tokens.length + 3, // a model may have more rows than tokens
    bytes: (id) => tokens[id] ?? new Uint8Array(),
    specialIds: new Set([end - 1, end]),
    endIds: [end],
  });
}

/** All bytes, and tokens that cross the borders of what JSON is made of. */
export const crossing = vocabularyOf([
  ...['{"', '":', '": ', '":"', '": "', '",', '", "', '","', '"}', '"}}', '"]', '"],', "[]", "{}", "[[", "]]", "}, {"],
  ...[
    "true",
    "false",
    "null",
    "ull",
    "12",
    "345",
    "-1",
    "0.5",
    "e1",
    "  ",
    "\n  ",
    "\n    ",
    ",\n",
    " }",
    ": [",
    '": {"',
  ],
  ...[
    "name",
    "na",
    '"name"',
    "a\\n",
    "\\u00",
    'b":{"a',
    "é",
    "日本",
    "😀",
    "日本",
    "the",
    " the",
    "2024-01",
    "abc",
    "aaaa",
  ],
]);

/** Only ASCII bytes are tokens by themselves; other characters are to be had whole, if at all. */
export const asciiOnly = vocabularyOf(['{"', '":', "é", "日本", '日"', "b日"], allBytes.slice(0, 128));

let bundled: TokenTrie | undefined;

/** The bundled model's tokens as a trie. */
export function storyteller(): TokenTrie {
  if (bundled === undefined) {
    const tokenizer = Tokenizer.load(resolve(__dirname, "../../models/storyteller-6m"));
    bundled = new TokenTrie({
      size: tokenizer.vocabSize,
      bytes: (id) => tokenizer.tokenBytes(id),
      specialIds: tokenizer.specialIds,
      endIds: tokenizer.eosTokenIds,
    });
  }
  return bundled;
}

export function allowed(trie: TokenTrie, state: ConstraintState): number[] {
  const words = new Int32Array(trie.words);
  state.mask(words);
  const ids: number[] = [];
  for (let id = 0; id < trie.size; id++) if ((words[id >> 5]! >>> (id & 31)) & 1) ids.push(id);
  return ids;
}

/** The state after a text, a byte at a time; null where a byte is refused. */
export function after(trie: TokenTrie, from: ConstraintState, text: string | Uint8Array): ConstraintState | null {
  const state = from.copy();
  for (const byte of typeof text === "string" ? encoder.encode(text) : text) {
    if (!state.accept(singleByte(trie, byte))) return null;
  }
  return state;
}

export function accepts(trie: TokenTrie, constraint: TokenConstraint, text: string): boolean {
  return after(trie, constraint.start(), text)?.isComplete === true;
}

const byteIds = new WeakMap<TokenTrie, Map<number, number>>();

function singleByte(trie: TokenTrie, byte: number): number {
  let ids = byteIds.get(trie);
  if (ids === undefined) {
    ids = new Map();
    for (let id = 0; id < trie.size; id++) {
      const bytes = trie.bytes(id);
      if (bytes.length === 1) ids.set(bytes[0]!, id);
    }
    byteIds.set(trie, ids);
  }
  const id = ids.get(byte);
  if (id === undefined) throw new Error(`no token is the byte ${byte}`);
  return id;
}

/**
 * A text of at most `tokens` random tokens, and then of few bytes that end it. Fails at a dead end, at a token that
 * the mask allows and the state refuses, and where no end is found.
 */
export function randomText(trie: TokenTrie, constraint: TokenConstraint, rng: Rng, tokens = 40): string {
  const state = constraint.start();
  const ids: number[] = [];
  const text = () => Buffer.concat(ids.map((id) => trie.bytes(id))).toString();
  for (let i = 0; i < tokens; i++) {
    if (state.isComplete && rng.next() < 0.2) return text();
    const choices = allowed(trie, state).filter((id) => !trie.endIds.includes(id));
    if (choices.length === 0) {
      if (state.isComplete) return text();
      throw new Error(`a dead end after ${JSON.stringify(text())}`);
    }
    const id = choices[rng.integer(0, choices.length - 1)]!;
    if (!state.accept(id)) throw new Error(`token ${id} is allowed and refused after ${JSON.stringify(text())}`);
    ids.push(id);
  }
  ids.push(...((remembers(state) ? null : shortestEnd(trie, state)) ?? greedyEnd(trie, state, rng)));
  return text();
}

const readingsOf = (state: ConstraintState) => (state as unknown as { readings: Readings }).readings;
const remembers = (state: ConstraintState) => readingsOf(state).frames.some(({ memory }) => memory !== null);

/** Where no two texts have the same readings: closes what can be closed, and is otherwise at random. */
function greedyEnd(trie: TokenTrie, from: ConstraintState, rng: Rng): number[] {
  for (let round = 0; round < 20; round++) {
    const state = from.copy();
    const ids: number[] = [];
    // Brackets close nothing within a string: every other round is for patterns of quotes and backslashes.
    const [haste, likely] = round % 2 === 0 ? [0.7, "abcnx019\\é"] : [0.3, "ab1\\"];
    while (!state.isComplete && ids.length < 6000) {
      const choices = allowed(trie, state).filter((id) => trie.bytes(id).length === 1);
      if (choices.length === 0) throw new Error(`a dead end after ${JSON.stringify(Buffer.from(ids).toString())}`);
      const letters = choices.filter((id) => likely.includes(String.fromCharCode(trie.bytes(id)[0]!)));
      const any = letters.length > 0 && rng.next() < 0.8 ? letters : choices;
      const closing = ['"', "]", "}", ","].map((mark) => mark.charCodeAt(0)).find((byte) => choices.includes(byte));
      const id = (rng.next() < haste ? closing : undefined) ?? any[rng.integer(0, any.length - 1)]!;
      if (!state.accept(id)) throw new Error(`token ${id} is allowed and refused`);
      ids.push(id);
    }
    if (state.isComplete) return ids;
  }
  throw new Error("no end is to be found");
}

/** Tokens of one byte that complete a text, null if there are very many. Looks where values are least nested, then for short ones. */
function shortestEnd(trie: TokenTrie, from: ConstraintState): number[] | null {
  const seen = new Set([readingsOf(from)]);
  const byCost: { state: ConstraintState; ids: number[] }[][] = [[{ state: from, ids: [] }]];
  for (let cost = 0; cost < byCost.length; cost++) {
    for (let at = byCost[cost]?.pop(); at !== undefined; at = byCost[cost]?.pop()) {
      const { state, ids } = at;
      if (state.isComplete) return ids;
      if (seen.size > 20_000) return null;
      for (const id of allowed(trie, state).filter((id) => trie.bytes(id).length === 1)) {
        const longer = state.copy();
        if (!longer.accept(id)) throw new Error(`token ${id} is allowed and refused`);
        const next = readingsOf(longer);
        if (seen.has(next)) continue;
        seen.add(next);
        const nesting = Math.min(...next.frames.map(({ depth }) => depth), next.complete ? 0 : Infinity);
        // Never less than what it came from, or it would not be seen.
        const own = Math.max(cost, ids.length + 1 + 1000 * nesting);
        byCost[own] ??= [];
        byCost[own].push({ state: longer, ids: [...ids, id] });
      }
    }
  }
  return null;
}
