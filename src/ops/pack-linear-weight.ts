import type { FileHandle } from "../native/abi";
import { addon } from "../native/load";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";

/** A row-major matrix [n, k]: in a file at a byte offset, or in a typed array. */
export type MatrixSource = { file: FileHandle; offset: number } | ArrayBufferView;

/** Converts a matrix to `to` in the order that the device's linear reads. */
export function packLinearWeight(
  stream: Stream,
  source: MatrixSource,
  [n, k]: readonly [number, number],
  from: DType,
  to: "f32" | "bf16" | "f16",
): Tensor {
  const [data, offset] = ArrayBuffer.isView(source) ? ([source, -1] as const) : ([source.file, source.offset] as const);
  const handle = addon().packLinearWeight(stream.handle, codeOf(to), n, k, codeOf(from), data, offset);
  return new Tensor(handle, to, [n, k]);
}
