import { EngineError } from "../errors";
import type { Tensor } from "../tensor/tensor";
import type { WeightDescriptor } from "./scope";

/** A matrix as a product reads it. */
export interface WeightView {
  /** How its values are stored; "plain" is one float for each. */
  readonly format: "plain";
  /** [n, k], in the order of the device's linear. */
  readonly data: Tensor;
  readonly shape: readonly [n: number, k: number];
}

/** The shape of matrices [n_i, k] of one type, stacked. Throws ERR_WEIGHTS where they cannot be. */
export function stackedShape(weights: readonly WeightDescriptor[]): [n: number, k: number] {
  const [first, ...others] = weights as [WeightDescriptor, ...WeightDescriptor[]];
  const [n, k] = first.shape as [number, number];
  const odd = others.find(({ dtype, shape }) => dtype !== first.dtype || shape[1] !== k);
  if (odd !== undefined) {
    const message = `expected ${odd.name} to be ${first.dtype} with rows of ${k} as ${first.name} is, got ${odd.dtype} with rows of ${odd.shape[1]}: both are one matrix here`;
    throw new EngineError("ERR_WEIGHTS", message, { subject: odd.name });
  }
  return [others.reduce((sum, { shape }) => sum + shape[0]!, n), k];
}
