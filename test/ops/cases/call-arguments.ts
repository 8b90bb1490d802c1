/** Arguments of the valid calls of ops. */
import type { DType } from "../../../src/tensor/dtype";
import type { Stream } from "../../../src/tensor/stream";
import type { Tensor } from "../../../src/tensor/tensor";

/** A tensor argument: random numbers of this type and shape, or integers as given. `packed` = linear's weight. */
export interface TensorArg {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly values?: readonly number[];
  readonly packed?: true;
  /** Strides may be anything, as for parameters that are expanded over channels. */
  readonly anyStrides?: true;
  /** Any rank from 2 on and any type will do. */
  readonly anyTensor?: true;
}

export type Arg = TensorArg | number | boolean;

export type Values = Record<string, Tensor | number | boolean>;

export interface ValidCall {
  readonly op: string; // as messages name it
  readonly args: Readonly<Record<string, Arg>>;
  readonly call: (stream: Stream, args: Values) => void;
}

export const isTensorArg = (arg: Arg): arg is TensorArg => typeof arg === "object";

export const f32 = (...shape: number[]): TensorArg => ({ dtype: "f32", shape });
export const positive = (rows: number, width: number): TensorArg => ({
  ...f32(rows, width),
  values: Array(rows * width).fill(2),
});
export const i32 = (...values: number[]): TensorArg => ({ dtype: "i32", shape: [values.length], values });
export const loose = (arg: TensorArg): TensorArg => ({ ...arg, anyStrides: true });

// The wrappers are typed by their arguments; a table of them cannot be.
// biome-ignore lint/suspicious/noExplicitAny: see above
export const as = (op: (stream: Stream, args: any) => void) => op as ValidCall["call"];
