import { EngineError } from "../errors";
import {
  dummiesOf,
  isQuantized,
  type MatrixDescriptor,
  partsOf,
  type QuantizedDescriptor,
  storedBytes,
  type WeightDescriptor,
} from "./descriptor";
import type { ReadPart } from "./part";
import { joinedFloats } from "./quantized-rows";

/** Neighbours that can be one matrix, in order: a checkpoint may have some projections of an input as codes only. */
export function runsOf(weights: readonly MatrixDescriptor[]): MatrixDescriptor[] {
  const runs: MatrixDescriptor[][] = [];
  for (const weight of weights) {
    const last = runs.at(-1);
    if (last !== undefined && areAlike(last[0]!, weight)) last.push(weight);
    else runs.push([weight]);
  }
  return runs.map((run) => concatRows(run));
}

function areAlike(a: MatrixDescriptor, b: MatrixDescriptor): boolean {
  if (isQuantized(a) || isQuantized(b)) {
    const form = (weight: MatrixDescriptor) =>
      isQuantized(weight) ? `${weight.codes} ${weight.group} ${weight.quantizeX}` : "floats";
    return form(a) === form(b);
  }
  return a.dtype === b.dtype && "values" in a.source === "values" in b.source;
}

/**
 * The tensors below each other along their first dimension, where they lie in their files: several projections of one input
 * become one. Throws ERR_WEIGHTS unless type and rows are the same.
 */
export function concatRows<D extends MatrixDescriptor>(weights: readonly D[]): D;
export function concatRows(weights: readonly MatrixDescriptor[]): MatrixDescriptor {
  const [first] = weights as [MatrixDescriptor];
  const odd = weights.find(
    (weight) => !areAlike(first, weight) || `${weight.shape.slice(1)}` !== `${first.shape.slice(1)}`,
  );
  if (weights.length > 1 && odd !== undefined) {
    const described = (weight: MatrixDescriptor) =>
      `${weight.name} is ${isQuantized(weight) ? weight.codes : weight.dtype} [${weight.shape.join(", ")}]`;
    const message = `${described(first)} and ${described(odd)}: expected one type and equal rows, since both are one matrix here`;
    throw new EngineError("ERR_WEIGHTS", message, { subject: odd.name });
  }
  return isQuantized(first)
    ? concatQuantized(weights as QuantizedDescriptor[])
    : concatPlain(weights as WeightDescriptor[]);
}

function concatQuantized(weights: readonly QuantizedDescriptor[]): QuantizedDescriptor {
  const [first, ...others] = weights as [QuantizedDescriptor, ...QuantizedDescriptor[]];
  if (others.length === 0) return first;
  return {
    ...first,
    name: `${first.name} to ${weights.at(-1)!.name}`,
    shape: [weights.reduce((sum, { shape }) => sum + shape[0]!, 0), ...first.shape.slice(1)],
    rows: weights.flatMap(({ rows }) => rows),
  };
}

function concatPlain(weights: readonly WeightDescriptor[]): WeightDescriptor {
  const [first, ...others] = weights as [WeightDescriptor, ...WeightDescriptor[]];
  if (others.length === 0) return first;
  const rows = weights.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const joined = {
    name: `${first.name} to ${weights.at(-1)!.name}`,
    dtype: first.dtype,
    shape: [rows, ...first.shape.slice(1)],
  };
  if ("dummy" in first.source) return { ...joined, source: { dummy: weights.flatMap(dummiesOf) } };
  if ("parts" in first.source) return { ...joined, source: { parts: weights.flatMap(partsOf) } };
  const bytes = weights.reduce((sum, weight) => sum + storedBytes(weight), 0);
  const values = (read: ReadPart) =>
    joinedFloats(weights.map(({ source }) => ("values" in source ? source.values(read) : new Float32Array(0))));
  return { ...joined, source: { values, bytes } };
}
