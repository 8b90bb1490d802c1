import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { type KvContext, kvContextArrays, viewKvContext, writeKvContext } from "./block-table";

/** What attention_varlen needs of the prefill rows besides where they begin. */
export interface PrefillAttention extends KvContext {
  /** i32 [tiles]: the prefill row of each tile of query tokens; those with the most keys come first. */
  readonly tileSeq: Tensor;
  /** i32 [tiles]: which tile of its row it is. */
  readonly tileOffset: Tensor;
}

/** Tiles of `tileTokens` query tokens each: attentionTileTokens() of the layer's head dimension. */
export const prefillAttention = (tileTokens: number): StepField<keyof PrefillAttention, PrefillAttention> => ({
  id: `prefill attention in tiles of ${tileTokens}`,
  phase: "prefill",
  arrays: (limits) => {
    const tiles = Math.floor(limits.maxTokens / tileTokens) + limits.maxRows;
    return { ...kvContextArrays(limits), tileSeq: tiles, tileOffset: tiles };
  },
  writer:
    ({ blockTable, kvLens, tileSeq, tileOffset }) =>
    ({ rows, numPrefills }) => {
      if (numPrefills === 0) return null;
      const context = writeKvContext(rows, 0, numPrefills, { blockTable, kvLens });
      const tiles: { row: number; offset: number; keys: number }[] = [];
      for (let row = 0; row < numPrefills; row++) {
        const { start, numTokens } = rows[row]!;
        for (let offset = 0; offset * tileTokens < numTokens; offset++) {
          tiles.push({ row, offset, keys: start + Math.min(numTokens, (offset + 1) * tileTokens) });
        }
      }
      tiles.sort((a, b) => b.keys - a.keys);
      for (const [i, { row, offset }] of tiles.entries()) {
        tileSeq[i] = row;
        tileOffset[i] = offset;
      }
      return { ...context, tileSeq: tiles.length, tileOffset: tiles.length };
    },
  view: ({ tileSeq, tileOffset, ...context }) => ({ ...viewKvContext(context), tileSeq, tileOffset }),
});
