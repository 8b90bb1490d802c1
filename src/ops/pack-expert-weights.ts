import { addon } from "../native/load";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";
import { type MatrixSource, type PackedDtype, type Quantization, sourceArgs } from "./pack-linear-weight";

/** packLinearWeight for the matrices of experts, [experts, n, k], in the order that the device's groupedLinear reads. */
export function packExpertWeights(
  stream: Stream,
  source: MatrixSource,
  [experts, n, k]: readonly [number, number, number],
  from: DType,
  to: PackedDtype,
  quantization: Partial<Quantization> = {},
): Tensor {
  const { group = 0, quantizeX = false } = quantization;
  const args = sourceArgs(source, quantization);
  const handle = addon().packExpertWeights(
    stream.handle,
    codeOf(to),
    group,
    quantizeX,
    experts,
    n,
    k,
    codeOf(from),
    ...args,
  );
  return new Tensor(handle, to, [experts, n, k]);
}
