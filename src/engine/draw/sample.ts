import { sample as sampleOp } from "../../ops/sampling";
import { draws as drawField } from "../../step/fields/draws";
import type { DrawStage } from "./stage";

/** Draws the tokens, from the logits as the other stages leave them. */
export const sample: DrawStage = {
  at: "tokens",
  wants: ({ draws }) => draws > 0,
  reserve() {},
  launch({ stream, views, logits, tokens }) {
    sampleOp(stream, { tokens, logits, params: views.get(drawField)!.sampling });
  },
};
