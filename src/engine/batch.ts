import { EngineError } from "../errors";
import { COUNTED_ROW_WORDS, PENALTY_ROW_WORDS, PenaltyRows } from "./penalty-rows";
import type { SchedulerConfig } from "./policy/scheduler";
import { NO_SLOT } from "./policy/state-slots";
import type { ScheduledBatch, ScheduledRow } from "./policy/step-plan";

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
  /** [P + D, 5] CountedRow: the tokens of each row, where its sequence has penalties. */
  readonly countedRows: Field;
  /** [R, 4] PenaltyRow. */
  readonly penalties: Field;
  /** [D] state slot; -1 = padding. */
  readonly decodeSlots: Field;
  /** [R] index in [0, T) of the row of hidden states from which a token is drawn. */
  readonly logitsRows: Field;
  /** [R, 8] SamplingRow. */
  readonly sampling: Field;
  /** [T]; -1 - d stands for draw d of the step before. */
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
  /** Whether ids stand for draws of the step before. A padded step always says so, because its graph is for both. */
  readonly takesDraws: boolean;
  /** Whether a sequence of the step has penalties; otherwise countedRows and penalties are not written. */
  readonly penalised: boolean;
  /** The words to upload are [firstWord, endWord): without the fields that only penalties or only prefills need. */
  readonly firstWord: number;
  readonly endWord: number;
}

/** Each field starts on a 128-byte line, so that vector loads of any field are aligned. */
const FIELD_ALIGNMENT = 32;

export function batchLayout({ maxNumSeqs, maxNumBatchedTokens, chunkSize }: BatchLimits): BatchLayout {
  // n tokens touch at most ceil(n / size) blocks, and one chunk more when they start inside one.
  const maxBlocks = Math.floor(maxNumBatchedTokens / CONV_BLOCK_SIZE) + maxNumSeqs;
  const maxChunks = Math.floor(maxNumBatchedTokens / chunkSize) + 2 * maxNumSeqs;
  let numWords = 0;
  const field = (capacity: number): BatchField => {
    const offset = numWords;
    numWords += Math.ceil(capacity / FIELD_ALIGNMENT) * FIELD_ALIGNMENT;
    return { offset, capacity };
  };
  // Few steps have penalties, and most are decodes: the first two fields and those after inputIds are often left out.
  const fields: BatchFields<BatchField> = {
    countedRows: field(maxNumSeqs * COUNTED_ROW_WORDS),
    penalties: field(maxNumSeqs * PENALTY_ROW_WORDS),
    decodeSlots: field(maxNumSeqs),
    logitsRows: field(maxNumSeqs),
    sampling: field(maxNumSeqs * SAMPLING_ROW_WORDS),
    inputIds: field(maxNumBatchedTokens),
    queryStartLoc: field(maxNumSeqs + 1),
    prefillSlots: field(maxNumSeqs),
    hasInitialState: field(maxNumSeqs),
    lastChunk: field(maxNumSeqs),
    blockSeq: field(maxBlocks),
    blockOffset: field(maxBlocks),
    cuChunkSeqlens: field(maxChunks + 1),
    chunkSeq: field(maxChunks),
  };
  return { ...fields, numWords };
}

/** Writes the metadata of a step into one block of 32-bit words, which one copy takes to the device. */
export class BatchBuilder {
  readonly layout: BatchLayout;
  /** The packed block; int32 except the f32 and u32 words of `sampling`. */
  readonly words: Int32Array;
  /** The fields as slices of `words`. */
  readonly fields: BatchFields<Int32Array>;
  private readonly limits: BatchLimits;
  private readonly samplingF32: Float32Array;
  private readonly samplingU32: Uint32Array;
  private readonly penaltyRows: PenaltyRows;
  private numTokens = 0;
  private numBlocks = 0;
  private numChunks = 0;
  private numLogits = 0;
  private takesDraws = false;

  /** `words` may be memory of the caller (pinned, say) of at least batchLayout(limits).numWords words. */
  constructor(limits: BatchLimits, words?: Int32Array) {
    this.limits = limits;
    this.layout = batchLayout(limits);
    this.words = words ?? new Int32Array(this.layout.numWords);
    if (this.words.length < this.layout.numWords) {
      throw tooSmall("words", this.layout.numWords, this.words.length);
    }
    const slice = ({ offset, capacity }: BatchField) => this.words.subarray(offset, offset + capacity);
    this.fields = {
      countedRows: slice(this.layout.countedRows),
      penalties: slice(this.layout.penalties),
      decodeSlots: slice(this.layout.decodeSlots),
      logitsRows: slice(this.layout.logitsRows),
      sampling: slice(this.layout.sampling),
      inputIds: slice(this.layout.inputIds),
      queryStartLoc: slice(this.layout.queryStartLoc),
      prefillSlots: slice(this.layout.prefillSlots),
      hasInitialState: slice(this.layout.hasInitialState),
      lastChunk: slice(this.layout.lastChunk),
      blockSeq: slice(this.layout.blockSeq),
      blockOffset: slice(this.layout.blockOffset),
      cuChunkSeqlens: slice(this.layout.cuChunkSeqlens),
      chunkSeq: slice(this.layout.chunkSeq),
    };
    const { buffer, byteOffset, length } = this.fields.sampling;
    this.samplingF32 = new Float32Array(buffer, byteOffset, length);
    this.samplingU32 = new Uint32Array(buffer, byteOffset, length);
    this.penaltyRows = new PenaltyRows(this.fields.countedRows, this.fields.penalties);
  }

  /**
   * Overwrites the block with this step. `padTo` is a number of decode rows (the size of a graph): rows past the batch's get
   * token 0 and slot -1, and both logitsRows and sampling are filled to `padTo` with greedy draws from row 0, to be ignored.
   * Only a batch without prefills can be padded. Words past the counts keep what an earlier step wrote. Throws ERR_ARGUMENT
   * for a batch that is larger than the limits.
   */
  build(batch: ScheduledBatch, padTo = 0): BatchCounts {
    this.check(batch, padTo);
    const { rows, numPrefills } = batch;
    this.numTokens = 0;
    this.numBlocks = 0;
    this.numChunks = 0;
    this.numLogits = 0;
    this.takesDraws = false;
    this.fields.queryStartLoc[0] = 0;
    this.fields.cuChunkSeqlens[0] = 0;
    for (let i = 0; i < numPrefills; i++) this.writePrefill(i, rows[i]!);
    const numPrefillTokens = this.numTokens;
    for (let i = numPrefills; i < rows.length; i++) this.writeDecode(i - numPrefills, rows[i]!);
    for (let i = rows.length; i < padTo; i++) this.writePadding(i);
    while (this.numLogits < padTo) this.writeIgnoredDraw();
    const penalised = this.penaltyRows.write(rows, padTo, this.numLogits);

    return {
      numTokens: this.numTokens,
      numPrefills,
      numPrefillTokens,
      numDecodes: this.numTokens - numPrefillTokens,
      numBlocks: this.numBlocks,
      numChunks: this.numChunks,
      numLogits: this.numLogits,
      takesDraws: padTo > 0 || this.takesDraws,
      penalised,
      firstWord: penalised ? 0 : this.layout.decodeSlots.offset,
      endWord: numPrefills > 0 ? this.layout.numWords : this.layout.inputIds.offset + this.numTokens,
    };
  }

  private check(batch: ScheduledBatch, padTo: number): void {
    const { maxNumSeqs, maxNumBatchedTokens } = this.limits;
    const numRows = Math.max(batch.rows.length, padTo);
    const numTokens = Math.max(batch.numTokens, padTo);
    if (numRows > maxNumSeqs) throw tooSmall("rows", numRows, maxNumSeqs);
    if (numTokens > maxNumBatchedTokens) throw tooSmall("inputIds", numTokens, maxNumBatchedTokens);
    if (padTo > 0 && (batch.numPrefills > 0 || padTo < batch.rows.length)) {
      throw new EngineError(
        "ERR_ARGUMENT",
        `a batch of ${batch.numPrefills} prefills and ${batch.rows.length} rows cannot be padded to ${padTo} decodes`,
        { subject: "padTo" },
      );
    }
  }

  private writePrefill(index: number, row: ScheduledRow): void {
    const { queryStartLoc, prefillSlots, hasInitialState, inputIds, lastChunk } = this.fields;
    const { sequence, start, numTokens } = row;
    prefillSlots[index] = sequence.slot;
    hasInitialState[index] = start > 0 ? 1 : 0;
    this.writeBlocks(index, numTokens);
    this.writeChunks(index, start, numTokens);
    lastChunk[index] = this.numChunks - 1;
    const { tokens } = sequence;
    const first = this.numTokens;
    for (let i = 0; i < numTokens; i++) inputIds[first + i] = tokens[start + i]!;
    this.numTokens += numTokens;
    queryStartLoc[index + 1] = this.numTokens;
    if (row.samples) this.writeDraw(row);
  }

  private writeBlocks(index: number, numTokens: number): void {
    const { blockSeq, blockOffset } = this.fields;
    for (let i = 0; i * CONV_BLOCK_SIZE < numTokens; i++) {
      blockSeq[this.numBlocks] = index;
      blockOffset[this.numBlocks] = i;
      this.numBlocks += 1;
    }
  }

  /** Chunks end on multiples of chunkSize counted in the sequence; a continued one first completes its pending chunk. */
  private writeChunks(index: number, start: number, numTokens: number): void {
    const { cuChunkSeqlens, chunkSeq } = this.fields;
    const { chunkSize } = this.limits;
    const end = start + numTokens;
    for (let position = start; position < end; ) {
      position = Math.min(position - (position % chunkSize) + chunkSize, end);
      chunkSeq[this.numChunks] = index;
      this.numChunks += 1;
      cuChunkSeqlens[this.numChunks] = this.numTokens + position - start;
    }
  }

  private writeDecode(index: number, row: ScheduledRow): void {
    this.fields.decodeSlots[index] = row.sequence.slot;
    this.fields.inputIds[this.numTokens] = row.draw >= 0 ? -1 - row.draw : row.sequence.tokens[row.start]!;
    this.takesDraws ||= row.draw >= 0;
    this.numTokens += 1;
    if (row.samples) this.writeDraw(row);
  }

  private writePadding(index: number): void {
    this.fields.decodeSlots[index] = NO_SLOT;
    this.fields.inputIds[this.numTokens] = 0;
    this.numTokens += 1;
  }

  /** Draws the token after the last one written. */
  private writeDraw({ sequence, start, numTokens }: ScheduledRow): void {
    const { temperature, topK, topP, minP } = sequence.request.sampling;
    const word = this.numLogits * SAMPLING_ROW_WORDS;
    this.fields.logitsRows[this.numLogits] = this.numTokens - 1;
    this.samplingF32[word] = temperature;
    this.fields.sampling[word + 1] = topK;
    this.samplingF32[word + 2] = topP;
    this.samplingF32[word + 3] = minP;
    this.samplingU32[word + 4] = sequence.seedLow;
    this.samplingU32[word + 5] = sequence.seedHigh;
    this.fields.sampling[word + 6] = start + numTokens;
    this.fields.sampling[word + 7] = 0;
    this.numLogits += 1;
  }

  private writeIgnoredDraw(): void {
    const word = this.numLogits * SAMPLING_ROW_WORDS;
    this.fields.logitsRows[this.numLogits] = 0;
    this.fields.sampling.fill(0, word, word + SAMPLING_ROW_WORDS);
    this.samplingF32[word + 2] = 1;
    this.numLogits += 1;
  }
}

function tooSmall(subject: string, needed: number, capacity: number): EngineError {
  return new EngineError("ERR_ARGUMENT", `${subject}: the step needs ${needed}, the block holds ${capacity}`, {
    subject,
  });
}
