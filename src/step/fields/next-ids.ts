import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { copyIntegers } from "../integers";

/** i32 [tokens]: the token that follows each of the rows'; -1 - d stands for draw d of this step. */
export const nextIds: StepField<"ids", Tensor> = {
  id: "next-ids",
  phase: "step",
  arrays: ({ maxTokens }) => ({ ids: maxTokens }),
  writer:
    ({ ids }) =>
    ({ rows }) => {
      let at = 0;
      let drawn = 0;
      for (const { sequence, start, numTokens, draws } of rows) {
        const known = numTokens - draws;
        copyIntegers(ids, at, sequence.tokens, start + 1, known);
        for (let i = known; i < numTokens; i++) ids[at + i] = -1 - drawn++;
        at += numTokens;
      }
      return { ids: at };
    },
  view: ({ ids }) => ids,
};
