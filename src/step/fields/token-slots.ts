import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** A call of fill() takes as long as so many tokens. */
const FILLED = 50;

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
        const { slot } = sequence;
        if (numTokens > FILLED) slots.fill(slot, at, at + numTokens);
        else for (let i = 0; i < numTokens; i++) slots[at + i] = slot;
        at += numTokens;
      }
      return { slots: at };
    },
  view: ({ slots }) => slots,
};
