import type { LoadedModel } from "../loaded-model";
import { bias } from "./bias";
import { LogprobStage } from "./logprobs";
import { masks } from "./masks";
import { PenaltyStage } from "./penalties";
import { PromptScoreStage, type ScoreBuffers } from "./prompt-scores";
import { sample } from "./sample";
import type { DrawStage } from "./stage";

/** All stages, in the order in which they run. `buffers` are the logits and tokens of the largest step. */
export function drawStages(
  { device, model, vocabSize }: LoadedModel,
  slots: number,
  buffers: () => ScoreBuffers,
): readonly DrawStage[] {
  return [
    new PromptScoreStage(model, buffers),
    bias,
    new PenaltyStage(device, slots, vocabSize),
    masks,
    sample,
    new LogprobStage(),
  ];
}
