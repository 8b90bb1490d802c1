import type { Tensor } from "../tensor/tensor";
import type { Sequence } from "./policy/sequence";
import type { ScheduledBatch, ScheduledRow } from "./policy/step-plan";
import type { StepBuffers, StepLauncher } from "./step-launcher";

/** Log probabilities of some of a prompt's tokens. */
export interface PromptScores {
  readonly sequence: Sequence;
  /** Which token of the prompt the first one is. */
  readonly first: number;
  /** [tokens, columns], the prompt's token first. */
  readonly values: Float32Array;
  readonly ids: Int32Array;
  readonly columns: number;
}

/** Whether a row is of a prompt that is scored. */
export function scoresPrompt({ sequence: { request }, start }: ScheduledRow): boolean {
  return request.promptLogprobs !== undefined && start + 1 < request.prompt.length;
}

/** Launches the scores of a step's prompts, from its hidden states; what they hold has come when `pending` has settled. */
export function launchPromptScores(
  launcher: StepLauncher,
  buffers: StepBuffers,
  hidden: Tensor,
  { rows }: ScheduledBatch,
  pending: Promise<void>[],
): PromptScores[] {
  const scores: PromptScores[] = [];
  let packed = 0;
  for (const { sequence, start, numTokens } of rows) {
    const begin = packed;
    packed += numTokens;
    const { prompt, promptLogprobs } = sequence.request;
    // The state after token t tells how likely token t + 1 was.
    const count = Math.min(numTokens, prompt.length - 1 - start);
    if (promptLogprobs === undefined || count <= 0) continue;
    const columns = promptLogprobs + 1;
    const values = new Float32Array(count * columns);
    const ids = new Int32Array(count * columns);
    const targets = Int32Array.from(prompt.slice(start + 1, start + 1 + count));
    launcher.launchScores(buffers, hidden.rows(begin, begin + count), targets, { values, ids, columns }, pending);
    scores.push({ sequence, first: start + 1, values, ids, columns });
  }
  return scores;
}
