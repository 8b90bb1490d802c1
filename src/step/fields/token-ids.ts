import { ON_DEVICE } from "../../engine/policy/step-plan";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { copyIntegers } from "../integers";

/** A call of set() takes as long as so many tokens. */
const COPIED = 50;

/**
 * i32 [tokens]: the rows' tokens one after the other; -1 - d stands for draw d of the step before. Behind its maxDraws draws come
 * those of the passes that guessed, maxDraws each: of every row with such guesses, in order, its first guess, then the second.
 */
export const tokenIds: StepField<"ids", Tensor> = {
  id: "token-ids",
  phase: "step",
  arrays: ({ maxTokens }) => ({ ids: maxTokens }),
  writer:
    ({ ids }, { maxDraws }) =>
    ({ rows }) => {
      let at = 0;
      let guessing = 0;
      for (const { sequence, start, numTokens, draw, drafts } of rows) {
        const { tokens, promptIds } = sequence;
        const known = numTokens - drafts.length;
        const end = start + known;
        if (draw >= 0) ids[at] = -1 - draw;
        else if (known > COPIED && end <= promptIds.length) ids.set(promptIds.subarray(start, end), at);
        else copyIntegers(ids, at, tokens, start, known);
        if (drafts[0] === ON_DEVICE) {
          for (let i = 0; i < drafts.length; i++) ids[at + known + i] = -1 - (maxDraws * (1 + i) + guessing);
          guessing += 1;
        } else for (let i = 0; i < drafts.length; i++) ids[at + known + i] = drafts[i]!;
        at += numTokens;
      }
      return { ids: at };
    },
  view: ({ ids }) => ids,
};
