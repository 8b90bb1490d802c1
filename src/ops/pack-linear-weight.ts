import type { FileHandle } from "../native/abi";
import { addon } from "../native/load";
import { type CodeDtype, codeOf, type DType } from "../tensor/dtype";
import type { Stream } from "../tensor/stream";
import { Tensor } from "../tensor/tensor";

/** Rows in a file, at a byte offset. */
export interface MatrixPart {
  readonly file: FileHandle;
  readonly offset: number;
  /** Bytes from one row's beginning to the next one's; missing: a row's own. */
  readonly stride?: number | undefined;
}

/**
 * Row-major matrices: in a typed array, or in any number of equal parts, in order. So what is one matrix here may be several tensors
 * there, or columns of them.
 */
export type MatrixSource = readonly MatrixPart[] | ArrayBufferView;

/** What a packed weight is made of. */
export type PackedDtype = "f32" | "bf16" | "f16" | CodeDtype;

/** How codes, in the source or in the packed weight, become values: scale * code + offset. */
export interface Quantization {
  /** How many codes of a row, one after the other, share a scale: all of k, or a multiple of 32 (16 of i8 and e2m1; on a GPU 128 of eight bits). */
  readonly group: number;
  /** Whether a GPU may round many rows of x to e4m3 too, with a scale for each row or group: of e4m3 only. Default: no. */
  readonly quantizeX?: boolean;
  /** [rows, ceil(k / group)], where the source is codes. */
  readonly scales?: Float32Array;
  /** The same, of u4. */
  readonly offsets?: Float32Array;
}

const none = new Float32Array(0);

/** As the addon takes it. */
export function sourceArgs(
  source: MatrixSource,
  { scales = none, offsets = none }: Partial<Quantization>,
): readonly [data: ArrayBufferView, places: Float64Array, scales: Float32Array, offsets: Float32Array] {
  if (ArrayBuffer.isView(source)) return [source, new Float64Array(0), scales, offsets];
  const files = Int32Array.from(source, ({ file }) => file);
  const places = Float64Array.from(source.flatMap(({ offset, stride = 0 }) => [offset, stride]));
  return [files, places, scales, offsets];
}

/**
 * Converts a matrix [n, k] to `to` in the order that the device's linear reads. Floats may become codes of i8, e4m3 or u4;
 * codes keep their type or become floats.
 */
export function packLinearWeight(
  stream: Stream,
  source: MatrixSource,
  [n, k]: readonly [number, number],
  from: DType,
  to: PackedDtype,
  quantization: Partial<Quantization> = {},
): Tensor {
  const { group = 0, quantizeX = false } = quantization;
  const args = sourceArgs(source, quantization);
  const handle = addon().packLinearWeight(stream.handle, codeOf(to), group, quantizeX, n, k, codeOf(from), ...args);
  return new Tensor(handle, to, [n, k]);
}
