import { addLogitBias } from "../../ops/mask";
import { MAX_LOGIT_BIAS } from "../policy/request";
import { type DrawStage, uploaded } from "./stage";

/** Adds to single logits what requests ask for (logit_bias), before anything else changes them. */
export const bias: DrawStage = {
  at: "logits",
  wants: ({ sequence, draws }) => draws > 0 && sequence.request.logitBias !== undefined,
  reserve(arena, { maxDraws }) {
    const entries = maxDraws * MAX_LOGIT_BIAS;
    for (const dtype of ["i32", "i32", "f32"] as const) arena.tensor(dtype, [entries]);
  },
  launch(draw) {
    const rows: number[] = [];
    const tokens: number[] = [];
    const values: number[] = [];
    let first = 0;
    for (const { sequence, draws } of draw.batch.rows) {
      for (let row = first; row < first + draws; row++) {
        for (const [token, value] of sequence.request.logitBias ?? []) {
          rows.push(row);
          tokens.push(token);
          values.push(value);
        }
      }
      first += draws;
    }
    addLogitBias(draw.stream, {
      logits: draw.logits,
      rows: uploaded(draw, Int32Array.from(rows)),
      tokens: uploaded(draw, Int32Array.from(tokens)),
      bias: uploaded(draw, Float32Array.from(values)),
    });
  },
};
