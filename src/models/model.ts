import type { Forward } from "../layers/forward";
import type { Tensor } from "../tensor/tensor";

/** One layer's state per slot. */
export interface LayerStateShape {
  /** [width - 1, convDim], compute type. */
  readonly conv: readonly number[];
  /** [H, P, N], state type. */
  readonly ssm: readonly number[];
}

/** What the engine needs of a model. */
export interface Model {
  /** Of every layer that has a state, in the order of Forward.state. */
  readonly stateShapes: readonly LayerStateShape[];
  /** A step: the batch's token ids to final hidden states [numTokens, hidden], in the arena. */
  forward(f: Forward): Tensor;
  /** Hidden states [rows, hidden] -> logits f32 [rows, vocab] in `out`. */
  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void;
}
