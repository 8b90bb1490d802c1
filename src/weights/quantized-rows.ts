import { sizeOf } from "../tensor/dtype";
import type { FilePart, QuantizedDescriptor, QuantizedMatrix, QuantizedValues } from "./descriptor";
import { readPart } from "./read-part";

/** The rows of a descriptor, one below the other: `codes` where they lie in files, or in memory. */
export interface QuantizedSource {
  readonly codes: readonly FilePart[] | Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Throws ERR_WEIGHTS where a file is cut off. */
export function readQuantized({ rows, group }: QuantizedDescriptor): QuantizedSource {
  const read = new Map<QuantizedMatrix, QuantizedValues>();
  const pieces = rows.map(({ matrix, begin, end }) => {
    const values = read.get(matrix) ?? matrix.read(readPart);
    read.set(matrix, values);
    const [, k] = matrix.shape;
    const rowBytes = Math.ceil(k * sizeOf(matrix.codes));
    const groups = Math.ceil(k / group);
    return {
      codes: rowsOfCodes(values.codes, begin * rowBytes, end * rowBytes),
      scales: values.scales.subarray(begin * groups, end * groups),
      offsets: values.offsets.subarray(begin * groups, end * groups),
    };
  });
  const codes = pieces.map((piece) => piece.codes);
  return {
    codes: codes.every((piece): piece is FilePart => !ArrayBuffer.isView(piece)) ? codes : joinedBytes(codes),
    scales: joinedFloats(pieces.map(({ scales }) => scales)),
    offsets: joinedFloats(pieces.map(({ offsets }) => offsets)),
  };
}

function rowsOfCodes(codes: FilePart | Uint8Array, begin: number, end: number): FilePart | Uint8Array {
  if (ArrayBuffer.isView(codes)) return codes.subarray(begin, end);
  return { file: codes.file, offset: codes.offset + begin, bytes: end - begin };
}

function joinedBytes(parts: readonly (FilePart | Uint8Array)[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (ArrayBuffer.isView(part) ? part : readPart(part))));
}

function joinedFloats(parts: readonly Float32Array[]): Float32Array {
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
