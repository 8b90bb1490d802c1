/** The tensors of a valid call on a device. */
import * as ops from "../../../src/ops";
import type { Stream } from "../../../src/tensor/stream";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import type { FloatDType } from "../../helpers/bits";
import { Rng } from "../../helpers/rng";
import { type Arg, isTensorArg, type TensorArg, type ValidCall, type Values } from "./call-arguments";

export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A packed weight: linear's [n, k], or grouped_linear's [experts, n, k]. */
export function pack(stream: Stream, values: Float32Array, { shape, dtype }: TensorArg): Tensor {
  const to = dtype as FloatDType;
  const [a, b, c] = shape as [number, number, number?];
  if (c === undefined) return ops.packLinearWeight(stream, values, [a, b], "f32", to);
  return ops.packExpertWeights(stream, values, [a, b, c], "f32", to);
}

function place(backend: Backend, arg: TensorArg): Tensor {
  const random = new Rng(0).uniform(elements(arg.shape), -1, 0); // negative, as `a` must be
  if (!arg.packed) return backend.place(arg.dtype, arg.shape, { values: arg.values ?? random }).tensor;
  return backend.keep(pack(backend.stream, random, arg));
}

/** The valid call's arguments on a device, with some replaced. */
export function materialise(backend: Backend, { args }: ValidCall, changes: Record<string, Arg> = {}): Values {
  const entries = Object.entries({ ...args, ...changes });
  return Object.fromEntries(entries.map(([name, arg]) => [name, isTensorArg(arg) ? place(backend, arg) : arg]));
}
