import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { countUp } from "../integers";

/** i32 [tokens]: the place of each token in its sequence, from 0. */
export const positions: StepField<"positions", Tensor> = {
  id: "positions",
  phase: "step",
  arrays: ({ maxTokens }) => ({ positions: maxTokens }),
  writer:
    ({ positions }) =>
    ({ rows }) => {
      let at = 0;
      for (const { start, numTokens } of rows) {
        countUp(positions, at, start, numTokens);
        at += numTokens;
      }
      return { positions: at };
    },
  view: ({ positions }) => positions,
};
