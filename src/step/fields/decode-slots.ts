import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** i32 [decodes]: the state slot of each decode row; -1 = padding. */
export const decodeSlots: StepField<"slots", Tensor> = {
  id: "decode-slots",
  phase: "step",
  arrays: ({ maxRows }) => ({ slots: maxRows }),
  writer:
    ({ slots }) =>
    ({ rows, numPrefills }) => {
      const numDecodes = rows.length - numPrefills;
      if (numDecodes === 0) return null;
      for (let i = 0; i < numDecodes; i++) slots[i] = rows[numPrefills + i]!.sequence.slot;
      return { slots: numDecodes };
    },
  view: ({ slots }) => slots,
};
