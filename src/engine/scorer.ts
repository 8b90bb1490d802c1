import { launchScores } from "./draw/prompt-scores";
import { greedyRequest } from "./policy/request";
import { Sequence } from "./policy/sequence";
import { batchOf, noDrafts } from "./policy/step-plan";
import type { StepLauncher } from "./step-launcher";

/** Log probabilities of a given text. */
export class Scorer {
  /** `maxTokens` of one step. */
  constructor(
    private readonly launcher: StepLauncher,
    private readonly maxTokens: number,
  ) {}

  /** Natural log probability of each token after the first, given all before it. Uses slot 0: nothing else may run. */
  async score(tokens: readonly number[]): Promise<Float32Array> {
    const scores = new Float32Array(tokens.length - 1);
    const sequence = new Sequence(greedyRequest("scored", tokens, 1), 0, tokens.length + 1);
    sequence.slot = 0;
    for (let start = 0; start < scores.length; start += this.maxTokens) {
      const numTokens = Math.min(this.maxTokens, scores.length - start);
      await this.scorePart(sequence, start, numTokens, scores.subarray(start, start + numTokens));
    }
    return scores;
  }

  private async scorePart(sequence: Sequence, start: number, numTokens: number, values: Float32Array): Promise<void> {
    const { launcher } = this;
    const { arena, buffers, target } = launcher;
    const { stream } = target.device;
    const batch = batchOf([{ sequence, start, numTokens, draws: 0, draw: -1, drafts: noDrafts }], 1);
    const targets = Int32Array.from(sequence.tokens.slice(start + 1, start + 1 + numTokens));
    launcher.block.write(batch);
    const downloads: Promise<void>[] = [];
    arena.scope(() => {
      launcher.upload();
      const { hidden: all } = launcher.launchForward(batch, launcher.views(), false);
      const hidden = all.rows(0, numTokens);
      const part = { values, ids: null, columns: 1 };
      launchScores(target.model, { stream, arena, ...buffers }, hidden, targets, part, downloads);
    });
    await Promise.all(downloads);
  }
}
