import { NO_SLOT } from "../../engine/policy/state-slots";
import type { Snapshot } from "../../engine/policy/step-plan";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

const none: readonly Snapshot[] = [];

/** The chunks of the prefill rows. */
export interface Chunks {
  /** i32 [chunks + 1]: chunk c is tokens [cuChunkSeqlens[c], cuChunkSeqlens[c + 1]). */
  readonly cuChunkSeqlens: Tensor;
  /** i32 [chunks]: prefill row of each chunk. */
  readonly chunkSeq: Tensor;
  /** i32 [prefills]: last chunk of the row; an empty row repeats its predecessor's (or -1). */
  readonly lastChunk: Tensor;
  /** i32 [chunks]: slot of the snapshot that is taken after the chunk; -1 = none. */
  readonly chunkSlots: Tensor;
}

/** Chunks end on multiples of `chunkSize` counted in the sequence; a continued one first completes its pending chunk. */
export function chunks(chunkSize: number): StepField<keyof Chunks, Chunks> {
  return {
    id: `chunks of ${chunkSize}`,
    phase: "prefill",
    alignment: chunkSize,
    // n tokens touch at most ceil(n / size) chunks, and one more when they start inside one.
    arrays: ({ maxRows, maxTokens }) => {
      const most = Math.floor(maxTokens / chunkSize) + 2 * maxRows;
      return { cuChunkSeqlens: most + 1, chunkSeq: most, lastChunk: maxRows, chunkSlots: most };
    },
    writer:
      ({ cuChunkSeqlens, chunkSeq, lastChunk, chunkSlots }) =>
      ({ rows, numPrefills }) => {
        if (numPrefills === 0) return null;
        let count = 0;
        let first = 0;
        cuChunkSeqlens[0] = 0;
        for (let p = 0; p < numPrefills; p++) {
          const { start, numTokens, snapshots = none } = rows[p]!;
          const end = start + numTokens;
          let next = 0; // snapshot: they come by ascending position
          for (let position = start; position < end; ) {
            position = Math.min(position - (position % chunkSize) + chunkSize, end);
            chunkSeq[count] = p;
            while (next < snapshots.length && snapshots[next]!.position < position) next += 1;
            chunkSlots[count] = snapshots[next]?.position === position ? snapshots[next]!.slot : NO_SLOT;
            count += 1;
            cuChunkSeqlens[count] = first + position - start;
          }
          lastChunk[p] = count - 1;
          first += numTokens;
        }
        return { cuChunkSeqlens: count + 1, chunkSeq: count, lastChunk: numPrefills, chunkSlots: count };
      },
    view: (arrays) => arrays,
  };
}
