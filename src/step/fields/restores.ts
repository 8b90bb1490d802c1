import { NO_SLOT } from "../../engine/policy/state-slots";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** States that are copied before the step. No slot is in both lists. */
export interface Restores {
  /** i32 [restores]: rows of the state pools. */
  readonly from: Tensor;
  /** i32 [restores]: likewise, of the step's sequences. */
  readonly to: Tensor;
}

/** Null where no row goes on from a snapshot. */
export const restores: StepField<keyof Restores, Restores> = {
  id: "restores",
  phase: "step",
  captured: false,
  arrays: ({ maxRows }) => ({ from: maxRows, to: maxRows }),
  writer:
    ({ from, to }) =>
    ({ rows }) => {
      let count = 0;
      for (const { sequence, restoredFrom = NO_SLOT } of rows) {
        if (restoredFrom === NO_SLOT) continue;
        from[count] = restoredFrom;
        to[count] = sequence.slot;
        count += 1;
      }
      return count === 0 ? null : { from: count, to: count };
    },
  view: (arrays) => arrays,
};
