/** Sets of Unicode code points, and their UTF-8. Surrogates are in no set: UTF-8 cannot write them. */

export type Range = readonly [low: number, high: number];
/** Disjoint ranges in ascending order. */
export type CodePoints = readonly Range[];

export const MAX_CODE_POINT = 0x10ffff;
const SURROGATES: Range = [0xd800, 0xdfff];

export const allCodePoints: CodePoints = [
  [0, SURROGATES[0] - 1],
  [SURROGATES[1] + 1, MAX_CODE_POINT],
];

/** The union of ranges in any order. */
export function codePoints(ranges: readonly Range[]): CodePoints {
  const merged: [number, number][] = [];
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else merged.push([low, high]);
  }
  return minus(merged, [SURROGATES]);
}

/** `set` without `removed`, both ascending and disjoint. */
export function minus(set: CodePoints, removed: CodePoints): CodePoints {
  const left: Range[] = [];
  for (const [low, high] of set) {
    let from = low;
    for (const [first, last] of removed) {
      if (last < from || first > high) continue;
      if (first > from) left.push([from, first - 1]);
      from = last + 1;
    }
    if (from <= high) left.push([from, high]);
  }
  return left;
}

export function complement(set: CodePoints): CodePoints {
  return minus(allCodePoints, set);
}

export function characters(text: string): CodePoints {
  return codePoints([...text].map((character): Range => [character.codePointAt(0)!, character.codePointAt(0)!]));
}

/** The last code points of one, two and three bytes. */
const lengthEnds = [0x7f, 0x7ff, 0xffff];
/** The first byte's marker by how many bytes follow it. */
const leads = [0, 0xc0, 0xe0, 0xf0];

function utf8(point: number): number[] {
  const following = lengthEnds.filter((end) => point > end).length;
  const bytes = [leads[following]! | (point >> (6 * following))];
  for (let i = following - 1; i >= 0; i--) bytes.push(0x80 | ((point >> (6 * i)) & 0x3f));
  return bytes;
}

/** The UTF-8 of a range: sequences of byte ranges, all combinations of which are in it, and each text once. */
export function utf8Ranges([low, high]: Range): Range[][] {
  for (const end of lengthEnds) {
    if (low <= end && high > end) return [...utf8Ranges([low, end]), ...utf8Ranges([end + 1, high])];
  }
  // A range whose ends differ in a byte can be cut where the bytes after it start over.
  for (let bytes = 1; bytes <= 3 && high > 0x7f; bytes++) {
    const rest = (1 << (6 * bytes)) - 1;
    if ((low & ~rest) === (high & ~rest)) break;
    if ((low & rest) !== 0) return [...utf8Ranges([low, low | rest]), ...utf8Ranges([(low | rest) + 1, high])];
    if ((high & rest) !== rest) {
      return [...utf8Ranges([low, (high & ~rest) - 1]), ...utf8Ranges([high & ~rest, high])];
    }
  }
  const last = utf8(high);
  return [utf8(low).map((byte, i): Range => [byte, last[i]!])];
}

/** No half of a surrogate pair, which UTF-8 cannot write either. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
