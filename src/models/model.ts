import type { CacheSpec } from "../layers/cache";
import type { Forward } from "../layers/forward";
import type { StepLoad, Work } from "../layers/work";
import type { AnyField } from "../step/field";
import type { Tensor } from "../tensor/tensor";

/** What the engine needs of a model. */
export interface Model {
  /** What its layers keep of each sequence. */
  readonly caches: readonly CacheSpec[];
  /** Step metadata that its layers read. */
  readonly fields: readonly AnyField[];
  /** A step: the batch's token ids to final hidden states [numTokens, hidden], in the arena. */
  forward(f: Forward): Tensor;
  /** Hidden states [rows, hidden] -> logits f32 [rows, vocab] in `out`. */
  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void;
  /** What a step takes, logits included. */
  work(load: StepLoad): Work;
}
