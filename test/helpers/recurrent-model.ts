import type { EngineRequest, FinishReason } from "../../src/engine/policy/request";
import { SAMPLING_ROW_WORDS } from "../../src/step/fields/draws";
import { COUNTED_ROW_WORDS, PENALTY_ROW_WORDS } from "../../src/step/fields/penalties";
import type { MambaBlock } from "./step-fields";

export const vocabSize = 24;
const emptyState = 0x811c9dc5;

/** The state after one more token; like a real one it tells orders, lengths and contents apart. */
const advance = (state: number, token: number) => Math.imul(state ^ (token + 1), 0x01000193) >>> 0;

function draw(state: number, seed: number, position: number): number {
  const mixed = Math.imul(advance(advance(state, seed), position), 0x9e3779b1);
  return (mixed >>> 16) % vocabSize;
}

const inPrompt = 1 << 31;

/** The state that a penalised draw is made from: every count of the sequence shows in it, and the penalties do. */
const penalised = (state: number, tokenCounts: ArrayLike<number>, penalties: readonly number[]) =>
  [...Array.from(tokenCounts), ...penalties.map((penalty) => penalty * 64)].reduce(advance, state);

/**
 * A recurrent model of one 32-bit word of state per slot, which sees nothing but the packed metadata: a shared slot, a state
 * that is not reset, a wrong row or a wrong position shows as another token, and so does a token that is counted wrongly where
 * a request has penalties.
 */
export class RecurrentModel {
  private readonly pool: Uint32Array;
  /** Tokens that a slot's state may lack, in a ring. */
  private readonly histories: Uint32Array[];
  private readonly tokenCounts: Int32Array[];
  /** Tokens that the step before drew. */
  private drawn: number[] = [];

  /** `entries`: tokens that a history has room for. */
  constructor(numSlots: number, entries = 0) {
    this.histories = Array.from({ length: numSlots }, () => new Uint32Array(entries).fill(0xbad));
    this.pool = new Uint32Array(numSlots).fill(0xdeadbeef);
    this.tokenCounts = Array.from({ length: numSlots }, () => new Int32Array(vocabSize).fill(77));
  }

  read = (slot: number): number => this.pool[slot]!;

  write(slot: number, state: number): void {
    this.pool[slot] = state;
  }

  /** Counts tokens that are in no step: those before a state that comes from elsewhere. */
  countPrefix(slot: number, tokens: readonly number[], numPrompt: number): void {
    const own = this.tokenCounts[slot]!.fill(0);
    for (const [i, id] of tokens.entries()) countToken(own, id, i < numPrompt);
  }

  /** The drawn tokens of the step that was written last, padding included. */
  run(block: MambaBlock): number[] {
    const taken = block.array("inputIds");
    for (const [t, id] of taken.entries()) if (id < 0) taken[t] = this.drawn[-1 - id]!;
    this.drawn = this.step(block);
    return this.drawn;
  }

  private step(block: MambaBlock): number[] {
    this.count(block);
    const restoredTo = block.array("restoredTo");
    for (const [i, from] of block.array("restoredFrom").entries()) this.pool[restoredTo[i]!] = this.pool[from]!;
    const snapshotSlots = block.array("snapshotSlots");
    const slotAfter = new Map(Array.from(block.array("snapshotEnds"), (end, i) => [end, snapshotSlots[i]!]));
    const [queryStartLoc, inputIds] = [block.array("queryStartLoc"), block.array("inputIds")];
    const [prefillSlots, hasInitialState] = [block.array("prefillSlots"), block.array("hasInitialState")];
    const hidden: number[] = [];
    for (const [row, slot] of prefillSlots.entries()) {
      let state = hasInitialState[row] === 1 ? this.pool[slot]! : emptyState;
      for (let token = queryStartLoc[row]!; token < queryStartLoc[row + 1]!; token++) {
        state = advance(state, inputIds[token]!);
        hidden[token] = state;
        const kept = slotAfter.get(token + 1);
        if (kept !== undefined) this.pool[kept] = state;
      }
      this.pool[slot] = state;
    }
    const decodeSlots = block.array("decodeSlots");
    const perRow = (inputIds.length - hidden.length) / decodeSlots.length;
    for (const [row, slot] of decodeSlots.entries()) {
      const ids = inputIds.subarray(hidden.length, hidden.length + perRow);
      if (slot < 0) hidden.push(...new Array<number>(perRow).fill(0));
      else if (block.array("lag").length === 0) hidden.push(this.update(slot, ids[0]!));
      else hidden.push(...this.decode(slot, ids, block.array("replays").subarray(3 * row, 3 * row + 3)));
    }
    const [sampling, penalties] = [block.array("sampling"), block.array("penalties")];
    const strengths = new Float32Array(penalties.buffer, penalties.byteOffset, penalties.length);
    return Array.from(block.array("drawRows"), (hiddenRow, row) => {
      const word = row * SAMPLING_ROW_WORDS;
      let state = hidden[hiddenRow]!;
      const at = row * PENALTY_ROW_WORDS;
      const slot = penalties[at] ?? -1;
      if (slot >= 0) state = penalised(state, this.tokenCounts[slot]!, [...strengths.subarray(at + 1, at + 4)]);
      return draw(state, sampling[word + 4]!, sampling[word + 6]!);
    });
  }

  /** The plain update: one token, in the state itself. */
  private update(slot: number, id: number): number {
    this.pool[slot] = advance(this.pool[slot]!, id);
    return this.pool[slot];
  }

  /** The state after each of a row's tokens. */
  private decode(slot: number, ids: Int32Array, [first, held, settles]: Int32Array): number[] {
    const history = this.histories[slot]!;
    let state = this.pool[slot]!;
    for (let token = first! - held!; token < first!; token++) state = advance(state, history[token % history.length]!);
    if (settles === 1) this.pool[slot] = state;
    const states = Array.from(ids, (id, i) => {
      history[(first! + i) % history.length] = id;
      state = advance(state, id);
      return state;
    });
    if (settles === 2) this.pool[slot] = state;
    return states;
  }

  private count(block: MambaBlock): void {
    const countedRows = block.array("countedRows");
    const inputIds = block.array("inputIds");
    for (let word = 0; word < countedRows.length; word += COUNTED_ROW_WORDS) {
      const [slot, first, length, prompt, fresh] = countedRows.subarray(word, word + COUNTED_ROW_WORDS);
      if (slot! < 0) continue;
      const own = this.tokenCounts[slot!]!;
      if (fresh === 1) own.fill(0);
      inputIds.subarray(first, first! + length!).forEach((id, i) => {
        countToken(own, id, i < prompt!);
      });
    }
  }
}

function countToken(own: Int32Array, id: number, isPrompt: boolean): void {
  own[id] = isPrompt ? own[id]! | inPrompt : own[id]! + 1;
}

/** What the model makes of a request that runs alone: new tokens, and why they end. */
export function generateAlone(
  { prompt, maxTokens, stopTokenIds, sampling }: EngineRequest,
  maxModelLen: number,
): { tokens: number[]; finishReason: FinishReason } {
  const all = [...prompt];
  for (;;) {
    let state = all.reduce(advance, emptyState);
    if (sampling.penalties !== undefined) {
      const own = new Int32Array(vocabSize);
      for (const [i, id] of all.entries()) countToken(own, id, i < prompt.length);
      const { repetition, presence, frequency } = sampling.penalties;
      state = penalised(state, own, [repetition, presence, frequency]);
    }
    const token = draw(state, Number(BigInt.asIntN(32, sampling.seed)), all.length);
    all.push(token);
    const tokens = all.slice(prompt.length);
    if (stopTokenIds.has(token)) return { tokens, finishReason: "stop" };
    if (tokens.length === maxTokens || all.length === maxModelLen) return { tokens, finishReason: "length" };
  }
}
