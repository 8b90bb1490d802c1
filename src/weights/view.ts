import type { PackedDtype } from "../ops/pack-linear-weight";
import { sizeOf } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";

/** A matrix as a product reads it: floats, or codes with a scale for each `group` of a row. */
export interface WeightView {
  /** [n, k], in the order of the device's linear. */
  readonly data: Tensor;
  readonly shape: readonly [n: number, k: number];
  /** What a product has to read: codes and scales. */
  readonly bytes: number;
}

/** Matrices of one shape, as a product of each expert's rows reads them. */
export interface ExpertsView {
  readonly data: Tensor;
  readonly shape: readonly [experts: number, n: number, k: number];
  /** What products with all experts have to read. */
  readonly bytes: number;
}

/** Bytes of rows of k: a scale takes 4, as do the scale and offset of u4, and one of e2m1 2. `group`: 0 for floats. */
export function packedBytes(dtype: PackedDtype, rows: number, k: number, group: number): number {
  const scales = group === 0 ? 0 : Math.ceil(k / group) * (dtype === "e2m1" ? 2 : 4);
  return rows * (Math.ceil(k * sizeOf(dtype)) + scales);
}
