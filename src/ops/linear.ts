import type { FileHandle } from "../native/abi";
import { call } from "../native/call";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";

/** out = x weightᵀ + bias: x [m, k] f32, bf16 or f16, weight packed [n, k], bias f32 [n], out [m, n] f32 or x's type. */
export function linear(
  stream: Stream,
  args: { out: Tensor; x: Tensor; weight: Tensor; bias?: Tensor | undefined },
): void {
  call("linear", stream.handle, args.out.handle, args.x.handle, args.weight.handle, args.bias?.handle ?? 0);
}

/** A row-major matrix [n, k]: in a mapped file at a byte offset, or in a typed array. */
export type MatrixSource = { file: FileHandle; offset: number } | ArrayBufferView;

/** Converts a matrix to `to` in the order that the device's linear reads. A file must stay mapped until the stream is past it. */
export function packLinearWeight(
  stream: Stream,
  source: MatrixSource,
  [n, k]: readonly [number, number],
  from: DType,
  to: "f32" | "bf16" | "f16",
): Tensor {
  const [data, offset] = ArrayBuffer.isView(source) ? ([source, -1] as const) : ([source.file, source.offset] as const);
  return new Tensor(call("packLinearWeight", stream.handle, codeOf(to), n, k, codeOf(from), data, offset), to, [n, k]);
}
