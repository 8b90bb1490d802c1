import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** i32 [tokens]: the state slot of each token's sequence; -1 = padding. */
export const tokenSlots: StepField<"slots", Tensor> = {
  id: "token-slots",
  phase: "step",
  arrays: ({ maxTokens }) => ({ slots: maxTokens }),
  writer:
    ({ slots }) =>
    ({ rows }) => {
      let at = 0;
      for (const { sequence, numTokens } of rows) {
        const end = at + numTokens;
        for (const { slot } = sequence; at < end; at++) slots[at] = slot; // a call of fill() takes as long as 50 tokens
      }
      return { slots: at };
    },
  view: ({ slots }) => slots,
};
