/** Loops of a step's metadata, four integers at a time: a step has thousands of them, and that takes half the time. */

/** Writes source[from, from + count) at `at`. */
export function copyIntegers(
  target: Int32Array,
  at: number,
  source: readonly number[],
  from: number,
  count: number,
): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    target[at + i] = source[from + i]!;
    target[at + i + 1] = source[from + i + 1]!;
    target[at + i + 2] = source[from + i + 2]!;
    target[at + i + 3] = source[from + i + 3]!;
  }
  for (; i < count; i++) target[at + i] = source[from + i]!;
}

/** Writes first, first + 1, ... at `at`. */
export function countUp(target: Int32Array, at: number, first: number, count: number): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    target[at + i] = first + i;
    target[at + i + 1] = first + i + 1;
    target[at + i + 2] = first + i + 2;
    target[at + i + 3] = first + i + 3;
  }
  for (; i < count; i++) target[at + i] = first + i;
}
