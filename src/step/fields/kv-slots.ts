import { PAGE_SIZE } from "../../engine/policy/kv-pages";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

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
        for (let position = start; position < start + numTokens; position++) {
          const page = pages[Math.floor(position / PAGE_SIZE)];
          slots[at++] = page === undefined ? -1 : page * PAGE_SIZE + (position % PAGE_SIZE);
        }
      }
      return { slots: at };
    },
  view: ({ slots }) => slots,
};
