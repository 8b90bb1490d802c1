import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** Tokens of one block of causal_conv1d_varlen. */
export const CONV_BLOCK_SIZE = 64;

/** How causal_conv1d_varlen cuts the prefills. */
export interface ConvBlocks {
  /** i32 [blocks]: the prefill row of each block of blockSize tokens. */
  readonly blockSeq: Tensor;
  /** i32 [blocks]: which block of its row it is. */
  readonly blockOffset: Tensor;
  readonly blockSize: number;
}

export const convBlocks: StepField<"blockSeq" | "blockOffset", ConvBlocks> = {
  id: "conv-blocks",
  phase: "prefill",
  // n tokens touch at most ceil(n / size) blocks.
  arrays: ({ maxRows, maxTokens }) => {
    const blocks = Math.floor(maxTokens / CONV_BLOCK_SIZE) + maxRows;
    return { blockSeq: blocks, blockOffset: blocks };
  },
  writer:
    ({ blockSeq, blockOffset }) =>
    ({ rows, numPrefills }) => {
      if (numPrefills === 0) return null;
      let blocks = 0;
      for (let p = 0; p < numPrefills; p++) {
        for (let i = 0; i * CONV_BLOCK_SIZE < rows[p]!.numTokens; i++) {
          blockSeq[blocks] = p;
          blockOffset[blocks] = i;
          blocks += 1;
        }
      }
      return { blockSeq: blocks, blockOffset: blocks };
    },
  view: (arrays) => ({ ...arrays, blockSize: CONV_BLOCK_SIZE }),
};
