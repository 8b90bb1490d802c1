import { type MatrixDescriptor, pickRows } from "./descriptor";
import { type Range, rangesOfPieces } from "./range";

/** Ranges of rows of matrices below each other, which may be stored in several ways; each range once for each matrix that it is in. */
export function rowsOfStack(stack: readonly MatrixDescriptor[], ranges: readonly Range[]): MatrixDescriptor[] {
  const sizes = stack.map(({ shape }) => shape[0]!);
  return rangesOfPieces(sizes, ranges).map(({ piece, begin, end }) => pickRows(stack[piece]!, [[begin, end]]));
}
