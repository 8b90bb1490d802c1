import type { Tensor } from "../tensor/tensor";

/** A matrix as a product reads it. */
export interface WeightView {
  /** How its values are stored; "plain" is one float for each. */
  readonly format: "plain";
  /** [n, k], in the order of the device's linear. */
  readonly data: Tensor;
  readonly shape: readonly [n: number, k: number];
}

/** Matrices of one shape, as a product of each expert's rows reads them. */
export interface ExpertsView {
  readonly format: "plain";
  readonly data: Tensor;
  readonly shape: readonly [experts: number, n: number, k: number];
}
