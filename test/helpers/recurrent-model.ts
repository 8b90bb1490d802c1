import { type BatchBuilder, type BatchCounts, SAMPLING_ROW_WORDS } from "../../src/engine/batch";
import type { EngineRequest, FinishReason } from "../../src/engine/request";

export const vocabSize = 24;
const emptyState = 0x811c9dc5;

/** The state after one more token; like a real one it tells orders, lengths and contents apart. */
const advance = (state: number, token: number) => Math.imul(state ^ (token + 1), 0x01000193) >>> 0;

function draw(state: number, seed: number, position: number): number {
  const mixed = Math.imul(advance(advance(state, seed), position), 0x9e3779b1);
  return (mixed >>> 16) % vocabSize;
}

/**
 * A recurrent model of one 32-bit word of state per slot, which sees nothing but the packed metadata: a shared slot, a state
 * that is not reset, a wrong row or a wrong position shows as another token.
 */
export class RecurrentModel {
  private readonly pool: Uint32Array;

  constructor(numSlots: number) {
    this.pool = new Uint32Array(numSlots).fill(0xdeadbeef);
  }

  /** Drawn tokens [numLogits]. */
  run({ fields }: BatchBuilder, counts: BatchCounts): number[] {
    const hidden: number[] = [];
    for (let row = 0; row < counts.numPrefills; row++) {
      const slot = fields.prefillSlots[row]!;
      let state = fields.hasInitialState[row] === 1 ? this.pool[slot]! : emptyState;
      for (let token = fields.queryStartLoc[row]!; token < fields.queryStartLoc[row + 1]!; token++) {
        state = advance(state, fields.inputIds[token]!);
        hidden[token] = state;
      }
      this.pool[slot] = state;
    }
    for (let row = 0; row < counts.numDecodes; row++) {
      const slot = fields.decodeSlots[row]!;
      const token = counts.numPrefillTokens + row;
      hidden[token] = slot < 0 ? 0 : advance(this.pool[slot]!, fields.inputIds[token]!);
      if (slot >= 0) this.pool[slot] = hidden[token]!;
    }
    return Array.from({ length: counts.numLogits }, (_, row) => {
      const word = row * SAMPLING_ROW_WORDS;
      return draw(hidden[fields.logitsRows[row]!]!, fields.sampling[word + 4]!, fields.sampling[word + 6]!);
    });
  }
}

/** What the model makes of a request that runs alone: new tokens, and why they end. */
export function generateAlone(
  { prompt, maxTokens, stopTokenIds, sampling }: EngineRequest,
  maxModelLen: number,
): { tokens: number[]; finishReason: FinishReason } {
  const all = [...prompt];
  for (;;) {
    const token = draw(all.reduce(advance, emptyState), Number(BigInt.asIntN(32, sampling.seed)), all.length);
    all.push(token);
    const tokens = all.slice(prompt.length);
    if (stopTokenIds.has(token)) return { tokens, finishReason: "stop" };
    if (tokens.length === maxTokens || all.length === maxModelLen) return { tokens, finishReason: "length" };
  }
}
