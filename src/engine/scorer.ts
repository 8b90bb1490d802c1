import { BatchBuilder } from "./batch";
import { sliceBatch } from "./batch-tensors";
import { greedyRequest } from "./policy/request";
import type { SchedulerConfig } from "./policy/scheduler";
import { Sequence } from "./policy/sequence";
import type { StepLauncher } from "./step-launcher";

/** A sequence that only takes tokens: a request that nobody waits for. */
export function inputSequence(prompt: readonly number[], slot: number): Sequence {
  const sequence = new Sequence(greedyRequest("input", prompt, 1), 0, prompt.length + 1);
  sequence.slot = slot;
  return sequence;
}

/** Log probabilities of a given text. */
export class Scorer {
  private readonly builder: BatchBuilder;

  constructor(
    private readonly launcher: StepLauncher,
    private readonly config: SchedulerConfig,
  ) {
    this.builder = new BatchBuilder(config);
  }

  /** Natural log probability of each token after the first, given all before it. Uses slot 0: nothing else may run. */
  async score(tokens: readonly number[]): Promise<Float32Array> {
    const { maxNumBatchedTokens } = this.config;
    const scores = new Float32Array(tokens.length - 1);
    const sequence = inputSequence(tokens, 0);
    for (let start = 0; start < scores.length; start += maxNumBatchedTokens) {
      const numTokens = Math.min(maxNumBatchedTokens, scores.length - start);
      const targets = Int32Array.from(tokens.slice(start + 1, start + 1 + numTokens));
      const rows = [{ sequence, start, numTokens, samples: false, draw: -1 }];
      const counts = this.builder.build({ rows, numPrefills: 1, numTokens, numLogits: 0 });
      await Promise.all(
        this.launcher.arena.scope(() => {
          const { arena, target, buffers } = this.launcher;
          const { stream } = target.device;
          stream.upload(buffers.block, this.builder.words);
          const batch = sliceBatch(buffers.block, this.builder.layout, counts);
          const f = { stream, arena, state: target.state, batch };
          const hidden = target.model.forward(f).rows(0, numTokens);
          const downloads: Promise<void>[] = [];
          const values = scores.subarray(start, start + numTokens);
          this.launcher.launchScores(buffers, hidden, targets, { values, ids: null, columns: 1 }, downloads);
          return downloads;
        }),
      );
    }
    return scores;
  }
}
