import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** States of prefixes that the step's prefills leave behind, for ops that look at tokens; others have them by chunk. */
export interface Snapshots {
  /** i32 [snapshots]: tokens of the step before each. */
  readonly snapshotEnds: Tensor;
  /** i32 [snapshots]: row of the state pools. */
  readonly snapshotSlots: Tensor;
}

/** Snapshots of one row lie at different multiples of `blockSize` tokens. */
export function snapshots(blockSize: number): StepField<keyof Snapshots, Snapshots> {
  return {
    id: "snapshots",
    phase: "prefill",
    arrays: ({ maxRows, maxTokens }) => {
      const most = Math.floor(maxTokens / blockSize) + maxRows;
      return { snapshotEnds: most, snapshotSlots: most };
    },
    writer:
      ({ snapshotEnds, snapshotSlots }) =>
      ({ rows, numPrefills }) => {
        let count = 0;
        let first = 0;
        for (let p = 0; p < numPrefills; p++) {
          const { start, numTokens, snapshots = [] } = rows[p]!;
          for (const { position, slot } of snapshots) {
            snapshotEnds[count] = first + position - start;
            snapshotSlots[count] = slot;
            count += 1;
          }
          first += numTokens;
        }
        return count === 0 ? null : { snapshotEnds: count, snapshotSlots: count };
      },
    view: (arrays) => arrays,
  };
}
