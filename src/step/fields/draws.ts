import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** 32-bit words of one SamplingRow (native/ops/sampling.h). */
export const SAMPLING_ROW_WORDS = 8;

/** The tokens that a step draws, in the order of the rows. */
export interface Draws {
  /** i32 [draws]: the row of hidden states from which each is drawn. */
  readonly rows: Tensor;
  /** i32 [draws, 8] SamplingRow: i32, f32 and u32 words. */
  readonly sampling: Tensor;
}

/** `ahead`: how many places after its row's last token a drawn one stands. */
const drawsAhead = (ahead: number): StepField<keyof Draws, Draws> => ({
  id: "draws",
  phase: "step",
  arrays: ({ maxDraws }) => ({ rows: maxDraws, sampling: maxDraws * SAMPLING_ROW_WORDS }),
  writer: ({ rows: hiddenRows, sampling }) => {
    const f32 = new Float32Array(sampling.buffer, sampling.byteOffset, sampling.length);
    const u32 = new Uint32Array(sampling.buffer, sampling.byteOffset, sampling.length);
    return ({ rows, numDraws }) => {
      if (numDraws === 0) return null;
      let count = 0;
      let end = 0;
      for (const { sequence, start, numTokens, draws } of rows) {
        end += numTokens;
        const { temperature, topK, topP, minP } = sequence.request.sampling;
        for (let left = draws; left > 0; left--) {
          const word = count * SAMPLING_ROW_WORDS;
          hiddenRows[count] = end - left;
          f32[word] = temperature;
          sampling[word + 1] = topK;
          f32[word + 2] = topP;
          f32[word + 3] = minP;
          u32[word + 4] = sequence.seedLow;
          u32[word + 5] = sequence.seedHigh;
          sampling[word + 6] = start + numTokens - left + ahead; // place of the drawn token in its sequence
          sampling[word + 7] = 0;
          count += 1;
        }
      }
      // A padded step draws greedily from the first row, and nobody reads it.
      for (; count < numDraws; count++) {
        const word = count * SAMPLING_ROW_WORDS;
        hiddenRows[count] = 0;
        sampling.fill(0, word, word + SAMPLING_ROW_WORDS);
        f32[word + 2] = 1;
      }
      return { rows: numDraws, sampling: numDraws * SAMPLING_ROW_WORDS };
    };
  },
  view: ({ rows, sampling }) => ({
    rows,
    sampling: sampling.view({ shape: [rows.size(0), SAMPLING_ROW_WORDS] }),
  }),
});

export const draws = drawsAhead(1);

/** The same for a head that predicts one token more. */
export const drawsOfMtp = drawsAhead(2);
