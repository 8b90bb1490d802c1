import type { Model } from "../../models/model";
import type { Arena } from "../../tensor/arena";
import type { Stream } from "../../tensor/stream";
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

/** What hidden states are scored with. */
export interface ScoreBuffers {
  readonly stream: Stream;
  readonly arena: Arena;
  /** f32 [rows, vocab] and i32 [rows]: as many rows are scored at a time. Their content is lost. */
  readonly logits: Tensor;
  readonly tokens: Tensor;
}

/**
 * Log probabilities of `targets`, one for each row of hidden states, and of the most likely tokens in all columns after the
 * first: values and ids [targets, columns] hold them once `pending` has settled.
 */
export function launchScores(
  model: Pick<Model, "logits">,
  { stream, arena, logits, tokens }: ScoreBuffers,
  hidden: Tensor,
  targets: Int32Array,
  { values, ids, columns }: { values: Float32Array; ids: Int32Array | null; columns: number },
  pending: Promise<void>[],
): void {
  const most = logits.size(0);
  for (let begin = 0; begin < targets.length; begin += most) {
    const end = Math.min(begin + most, targets.length);
    arena.scope(() => {
      const part = { logits: logits.rows(0, end - begin), tokens: tokens.rows(0, end - begin) };
      stream.upload(part.tokens, targets.subarray(begin, end));
      model.logits({ stream }, hidden.rows(begin, end), part.logits);
      const out = launchLogprobs({ stream, arena }, part, columns - 1);
      pending.push(stream.download(out.values, values.subarray(begin * columns, end * columns)));
      if (ids !== null) pending.push(stream.download(out.ids, ids.subarray(begin * columns, end * columns)));
    });
  }
}

/** Scores the tokens of prompts whose requests ask for it. It takes the logits and tokens of the step, before they are drawn. */
export class PromptScoreStage implements DrawStage {
  readonly at = "hidden";

  /** `buffers`: the logits and tokens of the largest step. */
  constructor(
    private readonly model: Pick<Model, "logits">,
    private readonly buffers: () => Pick<ScoreBuffers, "logits" | "tokens">,
  ) {}

  wants({ sequence: { request }, start }: ScheduledRow): boolean {
    return request.promptLogprobs !== undefined && start + 1 < request.prompt.length;
  }

  /** Nothing beyond what LogprobStage reserves for as many rows. */
  reserve(): void {}

  launch(draw: Draw): void {
    const buffers = { stream: draw.stream, arena: draw.arena, ...this.buffers() };
    const scores: PromptScores[] = [];
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
      const targets = Int32Array.from(prompt.slice(start + 1, start + 1 + count));
      const hidden = draw.hidden!.rows(begin, begin + count);
      launchScores(this.model, buffers, hidden, targets, { values, ids, columns }, draw.pending);
      scores.push({ sequence, first: start + 1, values, ids, columns });
    }
    draw.prompts = scores;
  }
}
