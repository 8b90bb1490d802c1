import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { keptRow } from "./kept-states";

/** i32 [rows]: where each sequence's last accepted draw is kept (see KeptStates of a pool for `maxDraws`); -1 for padding. */
export const heldRows = (maxDraws: number, rowTokens: number): StepField<"index", Tensor> => ({
  id: "held-rows",
  phase: "step",
  arrays: ({ maxRows }) => ({ index: maxRows }),
  writer:
    ({ index }) =>
    ({ rows }) => {
      for (const [i, { sequence }] of rows.entries()) {
        index[i] = keptRow(maxDraws, rowTokens, sequence.slot, sequence.lastAccepted);
      }
      return { index: rows.length };
    },
  view: ({ index }) => index,
});
