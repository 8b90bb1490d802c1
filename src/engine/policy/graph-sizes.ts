/** Batch sizes with a captured decode graph: powers of two up to the largest batch, which is always one. Ascending. */
export function captureSizes(maxNumSeqs: number): number[] {
  const sizes: number[] = [];
  for (let size = 1; size < maxNumSeqs; size *= 2) sizes.push(size);
  sizes.push(maxNumSeqs);
  return sizes;
}

/** Most tokens of a prefill that has a graph: a longer one takes the device longer than its launches take the host. */
const MOST_CAPTURED_TOKENS = 256;

/** Numbers of tokens with a captured prefill: powers of two from 16, as far as a step of `most` tokens has room. Ascending. */
export function prefillSizes(most: number): number[] {
  const sizes: number[] = [];
  for (let size = 16; size <= Math.min(MOST_CAPTURED_TOKENS, most); size *= 2) sizes.push(size);
  return sizes;
}

/** Numbers of tokens that stand for all up to `most`: the sizes between which a device may choose other kernels, half octaves. */
export function warmUpSizes(most: number): number[] {
  const sizes = [most];
  for (let size = 2; size < most; size *= 2) sizes.push(size, ...(size * 1.5 < most ? [size * 1.5] : []));
  return sizes;
}

/** The smallest captured size that holds `rows` decode rows. */
export function graphSize(sizes: readonly number[], rows: number): number {
  return sizes.find((size) => size >= rows) ?? 0;
}
