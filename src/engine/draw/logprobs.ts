import { logprobs } from "../../ops/sampling";
import type { Arena } from "../../tensor/arena";
import type { Stream } from "../../tensor/stream";
import type { Tensor } from "../../tensor/tensor";
import { MAX_TOP_LOGPROBS } from "../policy/request";
import type { ScheduledRow } from "../policy/step-plan";
import type { Draw, DrawLimits, DrawStage } from "./stage";

/** values f32 and ids i32, both [rows, top + 1]: of the given tokens, whose ids are ranks, then of the `top` most likely ones. */
export function launchLogprobs(
  { stream, arena }: { stream: Stream; arena: Arena },
  { logits, tokens }: { logits: Tensor; tokens: Tensor },
  top: number,
): { values: Tensor; ids: Tensor } {
  const rows = logits.size(0);
  const values = arena.tensor("f32", [rows, top + 1]);
  const ids = arena.tensor("i32", [rows, top + 1]);
  logprobs(stream, { values, ids, logits, tokens });
  return { values, ids };
}

/** Log probabilities of the drawn tokens and of the most likely ones, by the model's own logits. */
export class LogprobStage implements DrawStage {
  readonly at = "tokens";
  /** The model's own logits of this step, where a stage changes them. */
  private kept: Tensor | null = null;

  wants({ sequence, draws }: ScheduledRow): boolean {
    return draws > 0 && sequence.request.logprobs !== null;
  }

  reserve(arena: Arena, { maxDraws, vocabSize }: DrawLimits): void {
    arena.tensor("f32", [maxDraws, vocabSize]);
    const columns = Math.min(MAX_TOP_LOGPROBS, vocabSize) + 1;
    for (const dtype of ["f32", "i32"] as const) arena.tensor(dtype, [maxDraws, columns]);
  }

  prepare({ stream, arena, logits, changed }: Draw): void {
    this.kept = null;
    if (!changed) return;
    this.kept = arena.tensor("f32", logits.shape);
    stream.copy(this.kept, logits);
  }

  launch(draw: Draw): void {
    let top = 0;
    for (const { sequence, draws } of draw.batch.rows) {
      if (draws > 0) top = Math.max(top, sequence.request.logprobs ?? 0);
    }
    const { stream, tokens } = draw;
    const out = launchLogprobs(draw, { logits: this.kept ?? draw.logits, tokens }, top);
    const values = new Float32Array(out.values.elements);
    const ids = new Int32Array(out.ids.elements);
    draw.logprobs = { values, ids, columns: top + 1 };
    draw.pending.push(stream.download(out.values, values), stream.download(out.ids, ids));
  }
}
