import { EngineError } from "../errors";
import { type CodeDtype, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { DummyWeights } from "./dummy";

export type WeightDtype = "f32" | "bf16" | "f16";

/** Bytes of a file. */
export interface FilePart {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

export type ReadPart = (part: FilePart) => Uint8Array<ArrayBuffer>;

/** Values one after the other in parts of files, what is calculated from files, or a recipe for random ones (see fillDummy). */
export type WeightSource =
  | { readonly parts: readonly FilePart[] }
  | {
      readonly values: (read: ReadPart) => Float32Array /** Size of what they are calculated from. */;
      readonly bytes?: number;
    }
  | { readonly dummy: DummyWeights };

/** One tensor as the model asked for it. `dtype` is how the file stores it; dummy values are drawn as f32 and rounded to it. */
export interface WeightDescriptor {
  /** The model's name for it. */
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  readonly source: WeightSource;
}

/** A matrix of codes as a checkpoint has it (see formats/). */
export interface QuantizedMatrix {
  readonly name: string;
  readonly codes: CodeDtype;
  /** How many codes of a row, one after the other, share a scale. */
  readonly group: number;
  readonly shape: readonly [n: number, k: number];
  /** Bytes of all its tensors. */
  readonly bytes: number;
  /** Whether the checkpoint is made for inputs that are rounded to e4m3 too; default: it is not. */
  readonly quantizeX?: boolean;
  read(read: ReadPart): QuantizedValues;
}

/** A value is scale * code + offset. */
export interface QuantizedValues {
  /** Row-major; a byte has two codes of four bits, the first one in its low half. */
  readonly codes: FilePart | Uint8Array;
  /** [n, ceil(k / group)]. */
  readonly scales: Float32Array;
  /** The same, of u4; else empty. */
  readonly offsets: Float32Array;
}

/** Rows [begin, end) of a matrix of codes. */
export interface QuantizedRows {
  readonly matrix: QuantizedMatrix;
  readonly begin: number;
  readonly end: number;
}

/** A matrix, or a stack of them, made of rows of matrices of codes below each other. */
export interface QuantizedDescriptor {
  readonly name: string;
  readonly codes: CodeDtype;
  readonly group: number;
  readonly quantizeX: boolean;
  readonly shape: readonly number[];
  readonly rows: readonly QuantizedRows[];
}

export type MatrixDescriptor = WeightDescriptor | QuantizedDescriptor;

export function isQuantized(weight: MatrixDescriptor): weight is QuantizedDescriptor {
  return "rows" in weight;
}

export function wholeMatrix(matrix: QuantizedMatrix): QuantizedDescriptor {
  const { name, codes, group, quantizeX = false, shape } = matrix;
  return { name, codes, group, quantizeX, shape, rows: [{ matrix, begin: 0, end: shape[0] }] };
}

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
  if ("dummy" in first.source) return { ...joined, source: first.source };
  if ("parts" in first.source) return { ...joined, source: { parts: weights.flatMap(partsOf) } };
  const bytes = weights.reduce((sum, weight) => sum + storedBytes(weight), 0);
  const values = (read: ReadPart) => {
    const all = new Float32Array(elementsOf(joined.shape));
    let at = 0;
    for (const { source } of weights) {
      const part = "values" in source ? source.values(read) : new Float32Array(0);
      all.set(part, at);
      at += part.length;
    }
    return all;
  };
  return { ...joined, source: { values, bytes } };
}

/** Ranges of rows [begin, end) of a matrix, one below the other. */
export function pickRows<D extends MatrixDescriptor>(
  weight: D,
  ranges: readonly (readonly [begin: number, end: number])[],
): D;
export function pickRows(
  weight: MatrixDescriptor,
  ranges: readonly (readonly [begin: number, end: number])[],
): MatrixDescriptor {
  const { name, shape } = weight;
  const rows = ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
  const picked = { name: `rows of ${name}`, shape: [rows, ...shape.slice(1)] };
  if (isQuantized(weight)) {
    const [{ matrix }] = weight.rows as [QuantizedRows]; // as a checkpoint has it: whole
    return { ...weight, ...picked, rows: ranges.map(([begin, end]) => ({ matrix, begin, end })) };
  }
  const { dtype, source } = weight;
  if ("dummy" in source) return { ...picked, dtype, source };
  if ("values" in source) {
    const width = elementsOf(shape.slice(1));
    const values = (read: ReadPart) => {
      const all = source.values(read);
      const chosen = new Float32Array(rows * width);
      let at = 0;
      for (const [begin, end] of ranges) {
        chosen.set(all.subarray(begin * width, end * width), at);
        at += (end - begin) * width;
      }
      return chosen;
    };
    return { ...picked, dtype, source: { values, bytes: (storedBytes(weight) * rows) / shape[0]! } };
  }
  const rowBytes = elementsOf(shape.slice(1)) * sizeOf(dtype);
  const parts = ranges.flatMap(([begin, end]) => bytesOf(source.parts, begin * rowBytes, end * rowBytes));
  return { ...picked, dtype, source: { parts } };
}

/** Bytes [begin, end) of parts one after the other. */
function bytesOf(parts: readonly FilePart[], begin: number, end: number): FilePart[] {
  let start = 0;
  return parts.flatMap(({ file, offset, bytes }) => {
    const [first, last] = [Math.max(begin, start) - start, Math.min(end, start + bytes) - start];
    start += bytes;
    return first < last ? [{ file, offset: offset + first, bytes: last - first }] : [];
  });
}

/** The same elements in another shape. */
export function reshaped<D extends MatrixDescriptor>(weight: D, shape: readonly number[]): D {
  if (elementsOf(shape) !== elementsOf(weight.shape)) {
    throw new EngineError("ERR_SHAPE", `${weight.name}: [${weight.shape}] cannot become [${shape}]`);
  }
  return { ...weight, shape };
}

/** Bytes of what a checkpoint has of it; of rows of a matrix of codes, their share. */
export function storedBytes(weight: MatrixDescriptor): number {
  if (!isQuantized(weight)) {
    const counted = "values" in weight.source ? weight.source.bytes : undefined;
    return counted ?? elementsOf(weight.shape) * sizeOf(weight.dtype);
  }
  return weight.rows.reduce((sum, { matrix, begin, end }) => sum + (matrix.bytes * (end - begin)) / matrix.shape[0], 0);
}

/** None of what does not lie in files. */
export function partsOf({ source }: WeightDescriptor): readonly FilePart[] {
  return "parts" in source ? source.parts : [];
}

/** The same values in parts of one size, as few as there can be. */
export function equalParts(parts: readonly FilePart[]): readonly FilePart[] {
  const bytes = parts.reduce((size, part) => commonDivisor(size, part.bytes), 0);
  return parts.flatMap(({ file, offset, bytes: all }) =>
    Array.from({ length: all / bytes }, (_, i) => ({ file, offset: offset + i * bytes, bytes })),
  );
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
