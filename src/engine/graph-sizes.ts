/** Batch sizes with a captured decode graph: powers of two up to the largest batch, which is always one. Ascending. */
export function captureSizes(maxNumSeqs: number): number[] {
  const sizes: number[] = [];
  for (let size = 1; size < maxNumSeqs; size *= 2) sizes.push(size);
  sizes.push(maxNumSeqs);
  return sizes;
}

/** The smallest captured size that holds `rows` decode rows. */
export function graphSize(sizes: readonly number[], rows: number): number {
  return sizes.find((size) => size >= rows) ?? 0;
}
