import type { DType } from "../tensor/dtype";

/** An element may be off by atol + rtol |expected|. */
interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/**
 * The tolerance of an op that takes 16-bit activations, whatever its output's type. The tests of the ops allow an element half of this;
 * here are tens of millions of elements, among which some get the tail of what rounding does: 11 of 38.6 million outputs of a
 * scan were 0.056 off where a test would allow 0.051.
 */
const tolerance: Tolerance = { rtol: 2e-2, atol: 0.1 };
/** Norm of the difference over the norm of the expected values: what bf16 operands lose is a few thousandths. */
const MOST_RELATIVE_ERROR = 1e-2;

export type Words = Float32Array | Int32Array | Uint16Array;

/** Host memory for a tensor's bits. */
export function wordsFor(dtype: DType, count: number): Words {
  if (dtype === "f32") return new Float32Array(count);
  return dtype === "i32" ? new Int32Array(count) : new Uint16Array(count);
}

/** Null where `actual` is near `expected`: for i32 equal; for floats as a whole and in each element, and never NaN. */
export function differenceOf(dtype: DType, actual: Words, expected: Words): string | null {
  const valueAt = dtype === "bf16" ? bf16At : plainAt;
  let wrong = 0;
  let first = -1;
  let [squaredError, squared] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [is, wanted] = [valueAt(actual, i), valueAt(expected, i)];
    if (dtype === "i32" ? is === wanted : near(is, wanted)) {
      if (is !== wanted) squaredError += (is - wanted) ** 2; // equal infinities differ by NaN
      if (Number.isFinite(wanted)) squared += wanted ** 2;
      continue;
    }
    wrong += 1;
    if (first < 0) first = i;
  }
  const relative = Math.sqrt(squaredError / squared);
  if (wrong === 0) {
    return squaredError === 0 || relative <= MOST_RELATIVE_ERROR ? null : `relative error ${relative.toExponential(1)}`;
  }
  const [got, want] = [valueAt(actual, first), valueAt(expected, first)];
  return `${wrong} of ${expected.length} elements differ; element ${first} is ${got}, expected ${want}`;
}

function near(actual: number, expected: number): boolean {
  if (actual === expected) return true;
  // Not the other way round: a comparison with NaN is false.
  return Math.abs(actual - expected) <= tolerance.atol + tolerance.rtol * Math.abs(expected);
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

function bf16At(words: Words, i: number): number {
  scratchBits[0] = words[i]! << 16;
  return scratch[0]!;
}

function plainAt(words: Words, i: number): number {
  return words[i]!;
}
