import type { Model } from "../../models/model";
import type { Tensor } from "../../tensor/tensor";
import type { Sequence } from "../policy/sequence";
import type { ScheduledRow } from "../policy/step-plan";
import { launchLogprobs } from "./logprobs";
import type { Draw, DrawStage } from "./stage";

/** Log probabilities of some of a prompt's tokens. */
export interface PromptScores {
  readonly sequence: Sequence;
  /** Which token of the prompt the first one is. */
  readonly first: number;
  /** [tokens, columns], the prompt's token first; of it ids have the rank. */
  readonly values: Float32Array;
  readonly ids: Int32Array;
  readonly columns: number;
}

/** Where logits and targets of hidden states go while they are scored. */
export interface ScoreBuffers {
  readonly logits: Tensor;
  readonly tokens: Tensor;
}

/** Scores the tokens of prompts whose requests ask for it. It takes the logits and tokens of the step, before they are drawn. */
export class PromptScoreStage implements DrawStage {
  readonly at = "hidden";

  /** `buffers`: f32 [rows, vocab] and i32 [rows] of the largest step. As many rows are scored at a time. */
  constructor(
    private readonly model: Pick<Model, "logits">,
    private readonly buffers: () => ScoreBuffers,
  ) {}

  wants({ sequence: { request }, start }: ScheduledRow): boolean {
    return request.promptLogprobs !== undefined && start + 1 < request.prompt.length;
  }

  /** Nothing beyond what LogprobStage reserves for as many rows. */
  reserve(): void {}

  launch(draw: Draw): void {
    const found: PromptScores[] = [];
    let packed = 0;
    for (const row of draw.batch.rows) {
      const { sequence, start, numTokens } = row;
      const begin = packed;
      packed += numTokens;
      if (!this.wants(row)) continue;
      const { prompt, promptLogprobs } = sequence.request;
      // The state after token t tells how likely token t + 1 was.
      const count = Math.min(numTokens, prompt.length - 1 - start);
      const columns = promptLogprobs! + 1;
      const values = new Float32Array(count * columns);
      const ids = new Int32Array(count * columns);
      const scores = { sequence, first: start + 1, values, ids, columns };
      this.score(draw, draw.hidden!.rows(begin, begin + count), scores);
      found.push(scores);
    }
    draw.prompts = found;
  }

  /** Of `hidden`, one row for each token from the first on. */
  private score({ stream, arena, pending }: Draw, hidden: Tensor, scores: PromptScores): void {
    const { sequence, first, values, ids, columns } = scores;
    const { logits, tokens } = this.buffers();
    const [count, most] = [hidden.size(0), logits.size(0)];
    for (let begin = 0; begin < count; begin += most) {
      const end = Math.min(begin + most, count);
      arena.scope(() => {
        const part = { logits: logits.rows(0, end - begin), tokens: tokens.rows(0, end - begin) };
        stream.upload(part.tokens, Int32Array.from(sequence.request.prompt.slice(first + begin, first + end)));
        this.model.logits({ stream }, hidden.rows(begin, end), part.logits);
        const out = launchLogprobs({ stream, arena }, part, columns - 1);
        pending.push(stream.download(out.values, values.subarray(begin * columns, end * columns)));
        pending.push(stream.download(out.ids, ids.subarray(begin * columns, end * columns)));
      });
    }
  }
}
