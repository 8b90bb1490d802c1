import { EngineError } from "../errors";
import type { ScheduledBatch, SchedulerConfig } from "./scheduler";
import { NO_SLOT } from "./state-slots";

/** Tokens of one block of causal_conv1d_varlen. */
export const CONV_BLOCK_SIZE = 64;
/** 32-bit words of one SamplingRow (native/ops/sampling.h). */
export const SAMPLING_ROW_WORDS = 8;

export type BatchLimits = Pick<SchedulerConfig, "maxNumSeqs" | "maxNumBatchedTokens" | "chunkSize">;

/** Where a field lies in the packed words. */
export interface BatchField {
  /** In words. */
  readonly offset: number;
  /** In words. */
  readonly capacity: number;
}

/**
 * T tokens, P prefill rows, D decode rows, B conv blocks, C chunks, R drawn tokens. The packed tokens are those of the
 * prefill rows, then one per decode row.
 */
export interface BatchFields<Field> {
  /** [D] state slot; -1 = padding. */
  readonly decodeSlots: Field;
  /** [R] index in [0, T) of the row of hidden states from which a token is drawn. */
  readonly logitsRows: Field;
  /** [R, 8] SamplingRow. */
  readonly sampling: Field;
  /** [T] */
  readonly inputIds: Field;
  /** [P + 1] prefill row p is tokens [queryStartLoc[p], queryStartLoc[p + 1]). */
  readonly queryStartLoc: Field;
  /** [P] state slot. */
  readonly prefillSlots: Field;
  /** [P] 0 or 1. */
  readonly hasInitialState: Field;
  /** [P] last chunk of the row; an empty row repeats its predecessor's (or -1). */
  readonly lastChunk: Field;
  /** [B] prefill row of each conv block. */
  readonly blockSeq: Field;
  /** [B] which block of its row it is. */
  readonly blockOffset: Field;
  /** [C + 1] chunk c is tokens [cuChunkSeqlens[c], cuChunkSeqlens[c + 1]). */
  readonly cuChunkSeqlens: Field;
  /** [C] prefill row of each chunk. */
  readonly chunkSeq: Field;
}

export interface BatchLayout extends BatchFields<BatchField> {
  /** Words of the whole block. */
  readonly numWords: number;
}

/** Sizes of one step, padding included: the shapes that the ops are called with. */
export interface BatchCounts {
  readonly numTokens: number;
  readonly numPrefills: number;
  readonly numPrefillTokens: number;
  readonly numDecodes: number;
  readonly numBlocks: number;
  readonly numChunks: number;
  readonly numLogits: number;
  /** Words to upload, from the start of the block: a decode-only step ends before the prefill fields. */
  readonly numWords: number;
}

export function batchLayout(_limits: BatchLimits): BatchLayout {
  throw new Error(`pending ${EngineError} ${NO_SLOT}`);
}

/** Writes the metadata of a step into one block of 32-bit words, which one copy takes to the device. */
export class BatchBuilder {
  readonly layout: BatchLayout;
  /** The packed block; int32 except the f32 and u32 words of `sampling`. */
  readonly words: Int32Array;
  /** The fields as slices of `words`. */
  readonly fields: BatchFields<Int32Array>;

  /** `words` may be pinned memory of the caller, of at least batchLayout(limits).numWords words. */
  constructor(limits: BatchLimits, words?: Int32Array) {
    this.layout = batchLayout(limits);
    this.words = words ?? new Int32Array(this.layout.numWords);
    throw new Error("pending");
  }

  /**
   * Overwrites the block with this step. `padTo` is a number of decode rows (the size of a graph): rows past the batch's get
   * token 0 and slot -1, and both logitsRows and sampling are filled to `padTo` with greedy draws from row 0, to be ignored.
   * Only a batch without prefills can be padded. Throws ERR_ARGUMENT for a batch that is larger than the limits.
   */
  build(_batch: ScheduledBatch, _padTo?: number): BatchCounts {
    throw new Error("pending");
  }
}
