import type { Forward } from "../layers/forward";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";

/** One layer's state per slot. */
export interface LayerStateShape {
  /** [width - 1, convDim], compute type. */
  readonly conv: readonly number[];
  /** [H, P, N], state type. */
  readonly ssm: readonly number[];
}

export interface StateDtypes {
  readonly conv: DType;
  readonly ssm: DType;
}

/** What the engine needs of a model. */
export interface Model {
  /** A step: the batch's token ids to final hidden states [numTokens, hidden], in the arena. */
  forward(f: Forward): Tensor;
  /** Hidden states [rows, hidden] -> logits f32 [rows, vocab] in `out`. */
  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void;
}
