import type { Tensor } from "../tensor/tensor";
import type { MatrixDescriptor, WeightDescriptor } from "./descriptor";
import type { ExpertsView, WeightView } from "./view";

/** What the engine computes in: the type of activations, and of matrices unless the checkpoint's is smaller and exact. */
export type ComputeDtype = "f32" | "bf16" | "f16";

export interface MatrixOptions {
  /**
   * "exact" keeps the type that it is stored in: for a product that has to be exact, whatever the activations are. "residual" is
   * what adds to the residual stream, which suffers most from few bits.
   */
  readonly role?: "exact" | "residual" | undefined;
}

export interface VectorOptions {
  /** What is done to the values first: a transposition, say. */
  readonly change?: (values: Float32Array) => Float32Array;
  /** Default: one dimension. */
  readonly shape?: readonly number[];
}

/** Turns descriptors of weights into what layers hold. */
export interface WeightLoader {
  readonly dtype: ComputeDtype;
  /** A matrix [n, k] for `linear`. */
  matrix(weight: MatrixDescriptor, options?: MatrixOptions): WeightView;
  /** Matrices [experts, n, k] for `groupedLinear`. */
  experts(weight: MatrixDescriptor, options?: MatrixOptions): ExpertsView;
  /** A table [rows, width] for `embedding`, in the checkpoint's type of floats, or as activations where it has codes. */
  table(weight: WeightDescriptor): Tensor;
  /** A small tensor as f32. */
  vector(weight: WeightDescriptor, options?: VectorOptions): Tensor;
  /** A tensor of one element, as this process reads it. */
  scalar(weight: WeightDescriptor): number;
  /** Numbers that are no weights, as f32. */
  constant(values: readonly number[]): Tensor;
  /** Waits until all of it is there. Rejects with the first failure. */
  settle(): Promise<void>;
}
