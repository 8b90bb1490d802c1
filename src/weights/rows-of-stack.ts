import { type MatrixDescriptor, pickRows } from "./descriptor";

/** Ranges of rows of matrices below each other, which may be stored in several ways; each range once for each matrix that it is in. */
export function rowsOfStack(
  stack: readonly MatrixDescriptor[],
  ranges: readonly (readonly [begin: number, end: number])[],
): MatrixDescriptor[] {
  return ranges.flatMap(([begin, end]) => {
    let first = 0;
    return stack.flatMap((weight) => {
      const rows = weight.shape[0]!;
      const [from, to] = [Math.max(begin - first, 0), Math.min(end - first, rows)];
      first += rows;
      return from < to ? [pickRows(weight, [[from, to]])] : [];
    });
  });
}
