import { EngineError } from "../errors";
import { sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import {
  isQuantized,
  type MatrixDescriptor,
  type QuantizedRows,
  storedBytes,
  type WeightDescriptor,
} from "./descriptor";
import { columnsOfPart, type Part, pickParts, type ReadPart } from "./part";
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

/** Ranges of rows of matrices below each other, which may be stored in several ways; each range once for each matrix that it is in. */
export function rowsOfStack(stack: readonly MatrixDescriptor[], ranges: readonly Range[]): MatrixDescriptor[] {
  const sizes = stack.map(({ shape }) => shape[0]!);
  return rangesOfPieces(sizes, ranges).map(({ piece, begin, end }) => pickRows(stack[piece]!, [[begin, end]]));
}
