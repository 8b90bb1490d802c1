import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** The packed prefill sequences. */
export interface PrefillRows {
  /** i32 [prefills + 1]: prefill p is tokens [queryStartLoc[p], queryStartLoc[p + 1]). */
  readonly queryStartLoc: Tensor;
  /** i32 [prefills]: state slot; -1 = padding. */
  readonly slots: Tensor;
  /** i32 [prefills]: 0 where the slot's content is to be ignored, else 1. */
  readonly hasInitialState: Tensor;
}

export const prefillRows: StepField<keyof PrefillRows, PrefillRows> = {
  id: "prefill-rows",
  phase: "prefill",
  arrays: ({ maxRows }) => ({ queryStartLoc: maxRows + 1, slots: maxRows, hasInitialState: maxRows }),
  writer:
    ({ queryStartLoc, slots, hasInitialState }) =>
    ({ rows, numPrefills }) => {
      if (numPrefills === 0) return null;
      let end = 0;
      queryStartLoc[0] = 0;
      for (let i = 0; i < numPrefills; i++) {
        const { sequence, start, numTokens } = rows[i]!;
        slots[i] = sequence.slot;
        hasInitialState[i] = start > 0 ? 1 : 0;
        end += numTokens;
        queryStartLoc[i + 1] = end;
      }
      return { queryStartLoc: numPrefills + 1, slots: numPrefills, hasInitialState: numPrefills };
    },
  view: (arrays) => arrays,
};
