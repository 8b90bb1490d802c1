import { EngineError } from "../errors";
import { type Range, rangesOfPieces } from "./range";

/** Bytes beside each other, or in rows that are. */
export interface Part {
  readonly offset: number;
  /** In all rows. */
  readonly bytes: number;
  /** So many bytes of every `stride` from `offset` on; missing: all of them. */
  readonly rows?: { readonly bytes: number; readonly stride: number };
}

/** Bytes of a file. */
export interface FilePart extends Part {
  readonly file: string;
}

export type ReadPart = (part: FilePart) => Uint8Array<ArrayBuffer>;

/** Ranges of bytes of parts one after the other. */
export function pickParts<P extends Part>(parts: readonly P[], ranges: readonly Range[]): P[] {
  const sizes = parts.map(({ bytes }) => bytes);
  return rangesOfPieces(sizes, ranges).map(({ piece, begin, end }) => bytesOfPart(parts[piece]!, begin, end));
}

/** Bytes [begin, end) of a part: whole ones of its rows. */
export function bytesOfPart<P extends Part>(part: P, begin: number, end: number): P {
  const { offset, rows } = part;
  if (rows === undefined) return { ...part, offset: offset + begin, bytes: end - begin };
  if (begin % rows.bytes !== 0 || end % rows.bytes !== 0) {
    const message = `bytes ${begin} to ${end} of a part: expected whole rows of its ${rows.bytes} bytes`;
    throw new EngineError("ERR_SHAPE", message);
  }
  return { ...part, offset: offset + (begin / rows.bytes) * rows.stride, bytes: end - begin };
}

/** Bytes [begin, end) of each row of a part that consists of rows of `rowBytes`. */
export function columnsOfPart<P extends Part>(part: P, rowBytes: number, [begin, end]: Range): P {
  const { offset, bytes, rows } = part;
  const stride = rows?.stride ?? rowBytes;
  return {
    ...part,
    offset: offset + begin,
    bytes: (bytes / rowBytes) * (end - begin),
    rows: { bytes: end - begin, stride },
  };
}

/** The same bytes in parts of one size, as few as there can be. */
export function equalParts<P extends Part>(parts: readonly P[]): readonly P[] {
  const bytes = parts.reduce((size, part) => commonDivisor(size, part.bytes), 0);
  return parts.flatMap((part) =>
    Array.from({ length: part.bytes / bytes }, (_, i) => bytesOfPart(part, i * bytes, (i + 1) * bytes)),
  );
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
