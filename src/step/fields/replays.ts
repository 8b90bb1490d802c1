import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** 32-bit words of one ReplayRow (native/ops/replay.h). */
const REPLAY_ROW_WORDS = 3;

/** i32 [decodes, 3] ReplayRow: how each decode row finds its state; zeros for padding. */
export const replays: StepField<"rows", Tensor> = {
  id: "replays",
  phase: "step",
  arrays: ({ maxRows }) => ({ rows: maxRows * REPLAY_ROW_WORDS }),
  writer:
    ({ rows: words }) =>
    ({ rows, numPrefills }) => {
      if (rows.length === numPrefills) return null;
      let word = 0;
      for (let row = numPrefills; row < rows.length; row++) {
        const { replay } = rows[row]!;
        words[word++] = replay?.first ?? 0;
        words[word++] = replay?.held ?? 0;
        words[word++] = replay?.settles ? 1 : 0;
      }
      return { rows: word };
    },
  view: ({ rows }) => rows.view({ shape: [rows.size(0) / REPLAY_ROW_WORDS, REPLAY_ROW_WORDS] }),
};
