import type { FileHandle } from "../native/abi";
import { addon } from "../native/load";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";

/**
 * The matrices of experts, row-major [experts, n, k]: in a typed array, or in any number of equal parts, in order, each in a file
 * at a byte offset. So an expert may come as one tensor, or a gate and an up-projection as two.
 */
export type ExpertSource = readonly { file: FileHandle; offset: number }[] | ArrayBufferView;

/** Converts them to `to` in the order that the device's groupedLinear reads. */
export function packExpertWeights(
  stream: Stream,
  source: ExpertSource,
  [experts, n, k]: readonly [number, number, number],
  from: DType,
  to: "f32" | "bf16" | "f16",
): Tensor {
  const [data, offsets] = ArrayBuffer.isView(source)
    ? ([source, new Float64Array(0)] as const)
    : ([Int32Array.from(source, ({ file }) => file), Float64Array.from(source, ({ offset }) => offset)] as const);
  const handle = addon().packExpertWeights(stream.handle, codeOf(to), experts, n, k, codeOf(from), data, offsets);
  return new Tensor(handle, to, [experts, n, k]);
}
