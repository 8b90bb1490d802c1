import { settles } from "../../engine/policy/step-plan";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** 32-bit words of one ReplayRow (native/ops/replay.h). */
const REPLAY_ROW_WORDS = 3;

export interface Replays {
  /** i32 [decodes, 3] ReplayRow: how each decode row finds its state; zeros for padding. */
  readonly rows: Tensor;
  /** Whether states lag behind their sequences, or will: otherwise the plain update does, of one token for each row. */
  readonly lag: boolean;
}

export const replays: StepField<"rows" | "lag", Replays> = {
  id: "replays",
  phase: "step",
  // `lag` has no content: that it is there tells two kinds of steps, and with them two graphs, apart.
  arrays: ({ maxRows }) => ({ rows: maxRows * REPLAY_ROW_WORDS, lag: 1 }),
  writer:
    ({ rows: words }) =>
    ({ rows, numPrefills }) => {
      if (rows.length === numPrefills) return null;
      let word = 0;
      let lag = rows[numPrefills]!.numTokens > 1;
      for (let row = numPrefills; row < rows.length; row++) {
        const { replay } = rows[row]!;
        lag ||= replay !== undefined && (replay.held > 0 || replay.settles === settles.nothing);
        words[word++] = replay?.first ?? 0;
        words[word++] = replay?.held ?? 0;
        words[word++] = replay?.settles ?? settles.nothing;
      }
      return { rows: word, lag: Number(lag) };
    },
  view: ({ rows, lag }) => ({
    rows: rows.view({ shape: [rows.size(0) / REPLAY_ROW_WORDS, REPLAY_ROW_WORDS] }),
    lag: lag.size(0) > 0,
  }),
};
