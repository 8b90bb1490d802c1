import { addon } from "../native/load";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";
import { type MatrixSource, sourceArgs } from "./pack-linear-weight";

/** Converts the matrices of experts, [experts, n, k], to `to` in the order that the device's groupedLinear reads. */
export function packExpertWeights(
  stream: Stream,
  source: MatrixSource,
  [experts, n, k]: readonly [number, number, number],
  from: DType,
  to: "f32" | "bf16" | "f16",
): Tensor {
  const args = sourceArgs(source);
  const handle = addon().packExpertWeights(stream.handle, codeOf(to), experts, n, k, codeOf(from), ...args);
  return new Tensor(handle, to, [experts, n, k]);
}
