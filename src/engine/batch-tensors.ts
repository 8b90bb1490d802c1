import type { BatchTensors } from "../layers/forward";
import type { Tensor } from "../tensor/tensor";
import { type BatchCounts, type BatchField, type BatchLayout, CONV_BLOCK_SIZE, SAMPLING_ROW_WORDS } from "./batch";
import { COUNTED_ROW_WORDS, PENALTY_ROW_WORDS } from "./penalty-rows";

/** One step's metadata as tensors: slices of the uploaded block, cut to the step's sizes. */
export interface StepTensors extends BatchTensors {
  /** i32 [numLogits]. */
  readonly logitsRows: Tensor | null;
  /** i32 [numLogits, 8]. */
  readonly sampling: Tensor | null;
  /** i32 [rows, 5]; null where no sequence has penalties. */
  readonly countedRows: Tensor | null;
  /** i32 [numLogits, 4]; null where no sequence has penalties, or no row draws. */
  readonly penalties: Tensor | null;
}

/** `block` is i32 [layout.numWords] in an arena; the slices die with it. */
export function sliceBatch(block: Tensor, layout: BatchLayout, counts: BatchCounts): StepTensors {
  const slice = (field: BatchField, size: number) => block.view({ shape: [size], offset: field.offset });
  const table = (field: BatchField, rows: number, words: number) =>
    block.view({ shape: [rows, words], offset: field.offset });
  const { numTokens, numPrefills, numPrefillTokens, numDecodes, numBlocks, numChunks, numLogits, penalised } = counts;
  return {
    numTokens,
    numPrefillTokens,
    numDecodes,
    inputIds: slice(layout.inputIds, numTokens),
    prefill:
      numPrefills === 0
        ? null
        : {
            queryStartLoc: slice(layout.queryStartLoc, numPrefills + 1),
            slots: slice(layout.prefillSlots, numPrefills),
            hasInitialState: slice(layout.hasInitialState, numPrefills),
            blockSeq: slice(layout.blockSeq, numBlocks),
            blockOffset: slice(layout.blockOffset, numBlocks),
            blockSize: CONV_BLOCK_SIZE,
            cuChunkSeqlens: slice(layout.cuChunkSeqlens, numChunks + 1),
            chunkSeq: slice(layout.chunkSeq, numChunks),
            lastChunk: slice(layout.lastChunk, numPrefills),
          },
    decodeSlots: numDecodes === 0 ? null : slice(layout.decodeSlots, numDecodes),
    logitsRows: numLogits === 0 ? null : slice(layout.logitsRows, numLogits),
    sampling: numLogits === 0 ? null : table(layout.sampling, numLogits, SAMPLING_ROW_WORDS),
    countedRows: penalised ? table(layout.countedRows, numPrefills + numDecodes, COUNTED_ROW_WORDS) : null,
    penalties: penalised && numLogits > 0 ? table(layout.penalties, numLogits, PENALTY_ROW_WORDS) : null,
  };
}
