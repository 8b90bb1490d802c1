import type { FileHandle } from "../native/abi";
import { call } from "../native/call";
import { codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";

/** What a product is made with, and where it goes. */
export interface LinearArgs {
  /** [m, n] f32 or the type of the product's rows; only the first dimension may be strided. */
  readonly out: Tensor;
  /** Packed [n, k]. */
  readonly weight: Tensor;
  /** f32 [n]. */
  readonly bias?: Tensor | undefined;
  /** out += instead of out =; rounded once. */
  readonly accumulate?: boolean;
}

/** out = x weightᵀ + bias; x [m, k] f32, bf16 or f16. */
export function linear(stream: Stream, args: LinearArgs & { x: Tensor }): void {
  const { out, x, weight, bias, accumulate = false } = args;
  call("linear", stream.handle, out.handle, x.handle, weight.handle, bias?.handle ?? 0, accumulate);
}

/**
 * The same of norm(x) normWeight: x [m, k] of any float type, normWeight f32 [k]. `normed` [m, k] is scratch of the type
 * that the normalised rows have in the product; its content is undefined afterwards.
 */
export function rmsNormLinear(
  stream: Stream,
  args: LinearArgs & { x: Tensor; normWeight: Tensor; eps: number; normed: Tensor },
): void {
  const { out, x, normWeight, eps, normed, weight, bias, accumulate = false } = args;
  call(
    "rmsNormLinear",
    stream.handle,
    out.handle,
    x.handle,
    normWeight.handle,
    eps,
    normed.handle,
    weight.handle,
    bias?.handle ?? 0,
    accumulate,
  );
}

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
  return new Tensor(call("packLinearWeight", stream.handle, codeOf(to), n, k, codeOf(from), data, offset), to, [n, k]);
}
