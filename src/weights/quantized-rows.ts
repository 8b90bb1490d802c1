import { sizeOf } from "../tensor/dtype";
import type { QuantizedDescriptor, QuantizedMatrix, QuantizedRows, QuantizedValues } from "./descriptor";
import { codeValues } from "./float-bits";
import { bytesOfPart, columnsOfPart, type FilePart, type ReadPart } from "./part";
import { pickOfRows, type Range } from "./range";
import { readPart } from "./read-part";

/** The rows of a descriptor, one below the other: `codes` where they lie in files, or in memory. */
export interface QuantizedSource {
  readonly codes: readonly FilePart[] | Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Throws ERR_WEIGHTS where a file is cut off. */
export function readQuantized({ rows }: QuantizedDescriptor): QuantizedSource {
  const pieces = readRows(rows, readPart);
  const codes = pieces.map((piece) => piece.codes);
  return {
    codes: codes.every((piece): piece is FilePart => !ArrayBuffer.isView(piece)) ? codes : joinedBytes(codes),
    scales: joinedFloats(pieces.map(({ scales }) => scales)),
    offsets: joinedFloats(pieces.map(({ offsets }) => offsets)),
  };
}

/** What the rows stand for, in columns that need be no whole groups. */
export function floatsOfCodes(rows: readonly QuantizedRows[], read: ReadPart): Float32Array {
  const whole = readRows(
    rows.map(({ matrix, begin, end }) => ({ matrix, begin, end })),
    read,
  );
  const pieces = whole.map(({ codes, scales, offsets }, piece) => {
    const { matrix, begin, end, columns = [0, matrix.shape[1]] } = rows[piece]!;
    const { group, shape } = matrix;
    const values = new Float32Array((end - begin) * (columns[1] - columns[0]));
    const bytes = ArrayBuffer.isView(codes) ? codes : read(codes);
    const rowBytes = bytesOfRow(matrix);
    const groups = Math.ceil(shape[1] / group);
    const meaning = codeValues[matrix.codes];
    const inByte = 1 / sizeOf(matrix.codes);
    for (let row = 0, to = 0; row < end - begin; row++) {
      for (let column = columns[0]; column < columns[1]; column++, to++) {
        const byte = bytes[row * rowBytes + Math.floor(column / inByte)]!;
        const code = inByte === 1 ? byte : (byte >> (4 * (column % 2))) & 15;
        const at = row * groups + Math.floor(column / group);
        values[to] = scales[at]! * meaning[code]! + (offsets[at] ?? 0);
      }
    }
    return values;
  });
  return joinedFloats(pieces);
}

/** Each matrix is read once, from its first row that is wanted to the last. */
function readRows(rows: readonly QuantizedRows[], read: ReadPart): QuantizedValues[] {
  const wanted = new Map<QuantizedMatrix, Range>();
  for (const { matrix, begin, end } of rows) {
    const [first, last] = wanted.get(matrix) ?? [begin, end];
    wanted.set(matrix, [Math.min(first, begin), Math.max(last, end)]);
  }
  const known = new Map([...wanted].map(([matrix, range]) => [matrix, matrix.read(read, range)]));
  return rows.map(({ matrix, begin: from, end: to, columns }) => {
    const all = known.get(matrix)!;
    const start = wanted.get(matrix)![0];
    const [begin, end] = [from - start, to - start];
    const { codes: type, group, shape } = matrix;
    const rowBytes = bytesOfRow(matrix);
    const groups = Math.ceil(shape[1] / group);
    const codes = rowsOfCodes(all.codes, begin * rowBytes, end * rowBytes);
    const scales = all.scales.subarray(begin * groups, end * groups);
    const offsets = all.offsets.subarray(begin * groups, end * groups);
    if (columns === undefined) return { codes, scales, offsets };
    const [first, last] = columns;
    const ofBytes = [Math.floor(first * sizeOf(type)), Math.ceil(last * sizeOf(type))] as const;
    const ofGroups = [[Math.floor(first / group), Math.ceil(last / group)]] as const;
    return {
      codes: ArrayBuffer.isView(codes)
        ? pickOfRows(codes, rowBytes, [ofBytes])
        : columnsOfPart(codes, rowBytes, ofBytes),
      scales: pickOfRows(scales, groups, ofGroups),
      offsets: pickOfRows(offsets, groups, ofGroups),
    };
  });
}

const bytesOfRow = ({ codes, shape }: QuantizedMatrix): number => Math.ceil(shape[1] * sizeOf(codes));

function rowsOfCodes(codes: FilePart | Uint8Array, begin: number, end: number): FilePart | Uint8Array {
  return ArrayBuffer.isView(codes) ? codes.subarray(begin, end) : bytesOfPart(codes, begin, end);
}

function joinedBytes(parts: readonly (FilePart | Uint8Array)[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (ArrayBuffer.isView(part) ? part : readPart(part))));
}

/** One below the other; of one alone, that one. */
export function joinedFloats(parts: readonly Float32Array[]): Float32Array {
  const [first = new Float32Array(0)] = parts;
  if (parts.length === 1) return first;
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
