import { NO_SLOT } from "../../engine/policy/state-slots";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** Rows of a pool that has a step's draws first, then `rowTokens` for each slot: a sequence keeps those of its last row. */
export interface KeptStates {
  /** i32 [draws]: a copy goes from draw from[i] to row to[i]; -1 = nowhere. */
  readonly from: Tensor;
  readonly to: Tensor;
}

/** The row of a pool of KeptStates that has draw `draw` of the last row of a sequence with this slot. */
export const keptRow = (maxDraws: number, rowTokens: number, slot: number, draw: number): number =>
  slot === NO_SLOT ? -1 : maxDraws + slot * rowTokens + draw;

/** `rowTokens`: draws of a row at most. */
export const keptStates = (rowTokens: number): StepField<keyof KeptStates, KeptStates> => ({
  id: "kept-states",
  phase: "step",
  arrays: ({ maxDraws }) => ({ from: maxDraws, to: maxDraws }),
  writer:
    ({ from, to }, { maxDraws }) =>
    ({ rows, numDraws }) => {
      if (numDraws === 0) return null;
      let count = 0;
      for (const { sequence, draws } of rows) {
        for (let draw = 0; draw < draws; draw++) {
          from[count] = count;
          to[count] = keptRow(maxDraws, rowTokens, sequence.slot, draw);
          count += 1;
        }
      }
      from.fill(-1, count, numDraws);
      to.fill(-1, count, numDraws);
      return { from: numDraws, to: numDraws };
    },
  view: (arrays) => arrays,
});
