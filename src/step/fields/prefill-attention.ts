import { PAGE_SIZE } from "../../engine/policy/kv-pages";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { type KvContext, kvContextArrays, viewKvContext, writeKvContext } from "./block-table";

/** What attention_varlen needs of the prefill rows besides where they begin. */
export interface PrefillAttention extends KvContext {
  /** i32 [tiles]: the prefill row of each tile of query tokens; those with the most keys, to within a tile, come first. */
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
  writer: ({ blockTable, kvLens, tileSeq, tileOffset }) => {
    /** By how many times tileTokens keys a tile has, rounded up: how many such tiles, then where the next of them goes. */
    const places = new Int32Array(Math.ceil(((blockTable.length / kvLens.length) * PAGE_SIZE) / tileTokens) + 1);
    return ({ rows, numPrefills }) => {
      if (numPrefills === 0) return null;
      const context = writeKvContext(rows, 0, numPrefills, { blockTable, kvLens });
      places.fill(0);
      for (let row = 0; row < numPrefills; row++) {
        const { start, numTokens } = rows[row]!;
        for (let done = 0; done < numTokens; done += tileTokens) {
          places[Math.ceil((start + Math.min(numTokens, done + tileTokens)) / tileTokens)]! += 1;
        }
      }
      let tiles = 0;
      for (let keys = places.length - 1; keys >= 0; keys--) {
        const count = places[keys]!;
        places[keys] = tiles;
        tiles += count;
      }
      for (let row = 0; row < numPrefills; row++) {
        const { start, numTokens } = rows[row]!;
        for (let offset = 0; offset * tileTokens < numTokens; offset++) {
          const keys = Math.ceil((start + Math.min(numTokens, (offset + 1) * tileTokens)) / tileTokens);
          const tile = places[keys]!;
          places[keys] = tile + 1;
          tileSeq[tile] = row;
          tileOffset[tile] = offset;
        }
      }
      return { ...context, tileSeq: tiles, tileOffset: tiles };
    };
  },
  view: ({ tileSeq, tileOffset, ...context }) => ({ ...viewKvContext(context), tileSeq, tileOffset }),
});
