import type { FileHandle } from "../native/abi";
import { addon } from "../native/load";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";

/**
 * Row-major matrices: in a typed array, or in any number of equal parts, in order, each in a file at a byte offset. So what is one
 * matrix here may be several tensors there.
 */
export type MatrixSource = readonly { file: FileHandle; offset: number }[] | ArrayBufferView;

/** As the addon takes it. */
export function sourceArgs(source: MatrixSource): readonly [data: ArrayBufferView, offsets: Float64Array] {
  if (ArrayBuffer.isView(source)) return [source, new Float64Array(0)];
  return [Int32Array.from(source, ({ file }) => file), Float64Array.from(source, ({ offset }) => offset)];
}

/** Converts a matrix [n, k] to `to` in the order that the device's linear reads. */
export function packLinearWeight(
  stream: Stream,
  source: MatrixSource,
  [n, k]: readonly [number, number],
  from: DType,
  to: "f32" | "bf16" | "f16",
): Tensor {
  const handle = addon().packLinearWeight(stream.handle, codeOf(to), n, k, codeOf(from), ...sourceArgs(source));
  return new Tensor(handle, to, [n, k]);
}
