import type { DType } from "../tensor/dtype";

/** An element may be off by atol + rtol |expected|. */
interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/** Of an op that takes 16-bit activations, whatever its output's type; as in the tests of the ops. */
const tolerance: Tolerance = { rtol: 1e-2, atol: 5e-2 };

export type Words = Float32Array | Int32Array | Uint16Array;

/** Host memory for a tensor's bits. */
export function wordsFor(dtype: DType, count: number): Words {
  if (dtype === "f32") return new Float32Array(count);
  return dtype === "i32" ? new Int32Array(count) : new Uint16Array(count);
}

/** Null where `actual` is near `expected` everywhere: for i32 equal, for floats within the tolerance and never NaN. */
export function differenceOf(dtype: DType, actual: Words, expected: Words): string | null {
  const valueAt = dtype === "bf16" ? bf16At : plainAt;
  let wrong = 0;
  let first = -1;
  for (let i = 0; i < expected.length; i++) {
    if (dtype === "i32" ? actual[i] === expected[i] : near(valueAt(actual, i), valueAt(expected, i))) continue;
    wrong += 1;
    if (first < 0) first = i;
  }
  if (wrong === 0) return null;
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
