import type { CacheSpec } from "../layers/cache";
import type { Forward } from "../layers/forward";
import type { StepLoad, Work } from "../layers/work";
import type { AnyField } from "../step/field";
import type { Tensor } from "../tensor/tensor";
import type { MtpHead } from "./mtp-head";

/** What the engine needs of a model. */
export interface Model {
  /** What its layers keep of each sequence. */
  readonly caches: readonly CacheSpec[];
  /** Step metadata that its layers read. */
  readonly fields: readonly AnyField[];
  /** Whether states lag behind plain decodes of many rows (state-lag of the engine's policy). */
  readonly statesLag: boolean;
  /** The head that predicts one token more, where the build asked for it and the checkpoint has one. */
  readonly mtp: MtpHead | null;
  /** A step: the batch's token ids to final hidden states [numTokens, hidden], in `out` or else in the arena. */
  forward(f: Forward, out?: Tensor): Tensor;
  /** Hidden states [rows, hidden] -> logits f32 [rows, vocab] in `out`. */
  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void;
  /** What a step takes, logits included. */
  work(load: StepLoad): Work;
}
