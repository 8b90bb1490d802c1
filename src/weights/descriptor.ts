import { EngineError } from "../errors";
import { type CodeDtype, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { DummyPart } from "./dummy";
import { columnsOfPart, type FilePart, type Part, pickParts, type ReadPart } from "./part";
import { floatsOfCodes } from "./quantized-rows";
import {
  isWithin,
  listedRanges,
  pickOfRows,
  pickValues,
  type Range,
  rangesOfPieces,
  scaledRanges,
  sizeOfRanges,
} from "./range";

export type WeightDtype = "f32" | "bf16" | "f16";

/** Values one after the other in parts of files, what is calculated from files, or drawn ones one after the other. */
export type WeightSource =
  | { readonly parts: readonly FilePart[] }
  | {
      readonly values: (read: ReadPart) => Float32Array /** Size of what they are calculated from. */;
      readonly bytes?: number;
    }
  | { readonly dummy: readonly DummyPart[] };

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
  /** Values of rows [begin, end). */
  read(read: ReadPart, rows: Range): QuantizedValues;
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
  /** Missing: all. */
  readonly columns?: Range;
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
  if ("dummy" in first.source) return { ...joined, source: { dummy: weights.flatMap(dummiesOf) } };
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

/** Ranges [begin, end) of the first dimension, one below the other. Throws ERR_SHAPE for one that lies outside. */
export function pickRows<D extends MatrixDescriptor>(weight: D, ranges: readonly Range[]): D {
  const { name, shape } = weight;
  const [n, ...inner] = shape as [number, ...number[]];
  if (!areSome(weight, n, ranges)) return weight;
  const picked = { name: `${name}[${listedRanges(ranges)}]`, shape: [sizeOfRanges(ranges), ...inner] };
  return { ...rowsOf(weight, elementsOf(inner), ranges), ...picked };
}

/** The same of the rows of each matrix of a stack [matrices, n, k]. */
export function pickRowsOfEach<D extends MatrixDescriptor>(weight: D, ranges: readonly Range[]): D {
  const { name, shape } = weight;
  const [matrices, n, k] = shape as [number, number, number];
  if (!areSome(weight, n, ranges)) return weight;
  const picked = { name: `${name}[:, ${listedRanges(ranges)}]`, shape: [matrices, sizeOfRanges(ranges), k] };
  const ofMatrix = (matrix: number) => ranges.map(([begin, end]): Range => [matrix * n + begin, matrix * n + end]);
  const all = Array.from({ length: matrices }, (_, matrix) => ofMatrix(matrix)).flat();
  return { ...rowsOf(weight, k, all), ...picked };
}

/**
 * [begin, end) of the last dimension. Codes stay what they are if these are whole groups, or lie in one group, which becomes a whole
 * row; else they become floats. Throws ERR_SHAPE for a range that lies outside, or is empty.
 */
export function pickColumns(weight: WeightDescriptor, range: Range): WeightDescriptor;
export function pickColumns(weight: MatrixDescriptor, range: Range): MatrixDescriptor;
export function pickColumns(weight: MatrixDescriptor, range: Range): MatrixDescriptor {
  const { name, shape } = weight;
  const k = shape.at(-1)!;
  if (!areSome(weight, k, [range])) return weight;
  const [begin, end] = range;
  if (begin === end) rejectRange(weight, k, range);
  const picked = { name: `${name}[..., ${listedRanges([range])}]`, shape: [...shape.slice(0, -1), end - begin] };
  const bytes = (storedBytes(weight) * (end - begin)) / k;
  if (isQuantized(weight)) {
    const rows = weight.rows.map((each): QuantizedRows => {
      const [first] = each.columns ?? [0];
      return { ...each, columns: [first + begin, first + end] };
    });
    const [group = null, ...others] = new Set(rows.map(groupOf));
    if (group !== null && others.length === 0) return { ...weight, ...picked, group, rows };
    return { ...picked, dtype: "f32", source: { values: (read) => floatsOfCodes(rows, read), bytes } };
  }
  const { dtype, source } = weight;
  if ("values" in source) {
    return { ...picked, dtype, source: { values: (read) => pickOfRows(source.values(read), k, [range]), bytes } };
  }
  const size = sizeOf(dtype);
  const pick = <P extends Part>(part: P) => columnsOfPart(part, k * size, [begin * size, end * size]);
  return {
    ...picked,
    dtype,
    source: "dummy" in source ? { dummy: source.dummy.map(pick) } : { parts: source.parts.map(pick) },
  };
}

/** How many of the columns share a scale; null where a group or a byte is cut. */
function groupOf({ matrix, columns = [0, matrix.shape[1]] }: QuantizedRows): number | null {
  const { codes, group, shape } = matrix;
  const [begin, end] = columns;
  const isWhole = (size: number) => begin % size === 0 && (end % size === 0 || end === shape[1]);
  if (!isWhole(Math.ceil(1 / sizeOf(codes)))) return null;
  if (Math.floor(begin / group) === Math.floor((end - 1) / group)) return end - begin;
  return isWhole(group) ? group : null;
}

/** What ranges of rows of `width` elements are made of, with the name and the shape of all. */
function rowsOf<D extends MatrixDescriptor>(weight: D, width: number, ranges: readonly Range[]): D;
function rowsOf(weight: MatrixDescriptor, width: number, ranges: readonly Range[]): MatrixDescriptor {
  if (isQuantized(weight)) {
    const { rows, shape } = weight;
    const sizes = rows.map(({ begin, end }) => end - begin);
    const found = rangesOfPieces(sizes, scaledRanges(ranges, width / shape.at(-1)!));
    const cut = found.map(({ piece, begin, end }): QuantizedRows => {
      const of = rows[piece]!;
      return { ...of, begin: of.begin + begin, end: of.begin + end };
    });
    return { ...weight, rows: cut };
  }
  const { dtype, shape, source } = weight;
  const ofBytes = scaledRanges(ranges, width * sizeOf(dtype));
  if ("dummy" in source) return { ...weight, source: { dummy: pickParts(source.dummy, ofBytes) } };
  if ("parts" in source) return { ...weight, source: { parts: pickParts(source.parts, ofBytes) } };
  const values = (read: ReadPart) => pickValues(source.values(read), scaledRanges(ranges, width));
  const bytes = (storedBytes(weight) * sizeOfRanges(ranges) * width) / elementsOf(shape);
  return { ...weight, source: { values, bytes } };
}

/** Whether there is something to pick. */
function areSome(weight: MatrixDescriptor, size: number, ranges: readonly Range[]): boolean {
  for (const range of ranges) {
    if (!isWithin(range, size)) rejectRange(weight, size, range);
  }
  return ranges.length !== 1 || ranges[0]![0] > 0 || ranges[0]![1] < size;
}

function rejectRange({ name, shape }: MatrixDescriptor, size: number, range: Range): never {
  const message = `${name} of shape [${shape.join(", ")}]: expected a range within its ${size}, got ${listedRanges([range])}`;
  throw new EngineError("ERR_SHAPE", message, { subject: name });
}

/** The same elements in another shape. */
export function reshaped<D extends MatrixDescriptor>(weight: D, shape: readonly number[]): D {
  if (elementsOf(shape) !== elementsOf(weight.shape)) {
    throw new EngineError("ERR_SHAPE", `${weight.name}: [${weight.shape}] cannot become [${shape}]`);
  }
  return { ...weight, shape };
}

/** Bytes of what a checkpoint has of it; of rows and columns of a matrix of codes, their share. */
export function storedBytes(weight: MatrixDescriptor): number {
  if (!isQuantized(weight)) {
    const counted = "values" in weight.source ? weight.source.bytes : undefined;
    return counted ?? elementsOf(weight.shape) * sizeOf(weight.dtype);
  }
  return weight.rows.reduce((sum, { matrix, begin, end }) => {
    const [n, k] = matrix.shape;
    return sum + (matrix.bytes * (end - begin) * weight.shape.at(-1)!) / (n * k);
  }, 0);
}

/** None of what does not lie in files. */
export function partsOf({ source }: WeightDescriptor): readonly FilePart[] {
  return "parts" in source ? source.parts : [];
}

/** None of what no recipe gives. */
export function dummiesOf({ source }: WeightDescriptor): readonly DummyPart[] {
  return "dummy" in source ? source.dummy : [];
}
