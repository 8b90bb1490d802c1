/** Counted from 0. */
export type Range = readonly [begin: number, end: number];

/** [begin, end) of one of several pieces. */
export interface PieceRange {
  readonly piece: number;
  readonly begin: number;
  readonly end: number;
}

export const sizeOfRanges = (ranges: readonly Range[]): number =>
  ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);

export const scaledRanges = (ranges: readonly Range[], factor: number): Range[] =>
  ranges.map(([begin, end]) => [begin * factor, end * factor]);

/** For names and messages. */
export const listedRanges = (ranges: readonly Range[]): string =>
  ranges.map(([begin, end]) => `${begin}:${end}`).join("+");

export function isWithin([begin, end]: Range, size: number): boolean {
  return Number.isInteger(begin) && Number.isInteger(end) && 0 <= begin && begin <= end && end <= size;
}

/** What ranges of pieces of these sizes, one after the other, consist of. */
export function rangesOfPieces(sizes: readonly number[], ranges: readonly Range[]): PieceRange[] {
  let total = 0;
  const starts = sizes.map((size) => {
    total += size;
    return total - size;
  });
  return ranges.flatMap(([begin, end]) => {
    const found: PieceRange[] = [];
    for (let piece = lastUpTo(starts, begin); piece < sizes.length && starts[piece]! < end; piece++) {
      const start = starts[piece]!;
      const [first, last] = [Math.max(begin - start, 0), Math.min(end - start, sizes[piece]!)];
      if (first < last) found.push({ piece, begin: first, end: last });
    }
    return found;
  });
}

/** Place of the last of ascending numbers that is at most `limit`, else 0. A search, since a stack of experts has a thousand pieces. */
function lastUpTo(ascending: readonly number[], limit: number): number {
  let low = 0;
  for (let high = ascending.length; high - low > 1; ) {
    const middle = (low + high) >> 1;
    if (ascending[middle]! <= limit) low = middle;
    else high = middle;
  }
  return low;
}

/** Ranges of values, one after the other. */
export function pickValues(values: Float32Array, ranges: readonly Range[]): Float32Array {
  const picked = new Float32Array(sizeOfRanges(ranges));
  let at = 0;
  for (const [begin, end] of ranges) {
    picked.set(values.subarray(begin, end), at);
    at += end - begin;
  }
  return picked;
}

/** Ranges of each row of `width` values, beside each other. */
export function pickOfRows<A extends Float32Array | Int8Array | Uint8Array>(
  values: A,
  width: number,
  ranges: readonly Range[],
): A {
  const rows = values.length / width;
  const picked = new (values.constructor as new (length: number) => A)(rows * sizeOfRanges(ranges));
  let at = 0;
  for (let row = 0; row < values.length; row += width) {
    for (const [begin, end] of ranges) {
      picked.set(values.subarray(row + begin, row + end), at);
      at += end - begin;
    }
  }
  return picked;
}
