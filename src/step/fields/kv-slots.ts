import { PAGE_SIZE } from "../../engine/policy/kv-pages";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { countUp } from "../integers";

/** i32 [tokens]: where in the KV cache each token goes, page * PAGE_SIZE + offset; -1 = nowhere, for padding. */
export const kvSlots: StepField<"slots", Tensor> = {
  id: "kv-slots",
  phase: "step",
  arrays: ({ maxTokens }) => ({ slots: maxTokens }),
  writer:
    ({ slots }) =>
    ({ rows }) => {
      let at = 0;
      for (const { sequence, start, numTokens } of rows) {
        const { pages } = sequence;
        const end = start + numTokens;
        for (let position = start; position < end; ) {
          const offset = position % PAGE_SIZE;
          const page = pages.at((position - offset) / PAGE_SIZE);
          const run = Math.min(PAGE_SIZE - offset, end - position); // tokens in this page
          if (page < 0) slots.fill(-1, at, at + run);
          else countUp(slots, at, page * PAGE_SIZE + offset, run);
          position += run;
          at += run;
        }
      }
      return { slots: at };
    },
  view: ({ slots }) => slots,
};
