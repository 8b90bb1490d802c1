/** Comparison of a kernel's numbers with the reference's. Throws plain errors, so it also works outside jest. */
import type { FloatDType } from "./bits";

// Jest looks a global up ten times slower than a local, and these loops run a billion times.
const { abs, floor, min } = Math;
const infinity = Number.POSITIVE_INFINITY;
/** An element may be off by atol + rtol |expected|. */
export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/** By the least precise type involved. Rows taken from a published suite may carry that suite's own tolerance instead. */
export const tolerances: Record<FloatDType, Tolerance> = {
  f32: { rtol: 3e-4, atol: 1e-3 },
  f16: { rtol: 3e-3, atol: 5e-3 },
  bf16: { rtol: 1e-2, atol: 5e-2 },
};

const precision: Record<FloatDType, number> = { f32: 24, f16: 11, bf16: 8 }; // bits

export function toleranceOf(...dtypes: readonly FloatDType[]): Tolerance {
  return tolerances[dtypes.reduce((a, b) => (precision[b] < precision[a] ? b : a))];
}

/** 1 = the whole allowance is used. A NaN is infinitely far from everything; an infinity is near itself only. */
function distance(actual: number, expected: number, { rtol, atol }: Tolerance): number {
  if (actual === expected) return 0;
  const ratio = abs(actual - expected) / (atol + rtol * abs(expected));
  if (ratio < infinity) return ratio;
  return infinity; // and for NaN, which Math.min would let through
}

function indexText(flat: number, shape: readonly number[]): string {
  const index: number[] = [];
  for (let i = shape.length - 1; i >= 0; i--) {
    index.unshift(flat % shape[i]!);
    flat = floor(flat / shape[i]!);
  }
  return `[${index.join(", ")}]`;
}

/** Returns the largest error as a fraction of the allowance. */
export function assertClose(
  what: string,
  shape: readonly number[],
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
): number {
  const count = shape.reduce((a, b) => a * b, 1);
  if (actual.length !== count || expected.length !== count) {
    throw new Error(`${what} [${shape.join(", ")}]: got ${actual.length} elements, expected ${expected.length}`);
  }
  let worst = 0;
  let failed = 0;
  for (let i = 0; i < count; i++) {
    const d = distance(actual[i]!, expected[i]!, tolerance);
    if (d > worst) worst = d;
    if (d > 1) failed++;
  }
  if (failed === 0) return worst;
  throw new Error(report(what, shape, actual, expected, tolerance, worst, failed));
}

function report(
  what: string,
  shape: readonly number[],
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
  worst: number,
  failed: number,
): string {
  const top: { index: number; d: number }[] = []; // the five worst, worst first
  for (let index = 0; index < actual.length; index++) {
    const d = distance(actual[index]!, expected[index]!, tolerance);
    if (d <= 1 || (top.length === 5 && d <= top[4]!.d)) continue;
    top.push({ index, d });
    top.sort((a, b) => b.d - a.d || a.index - b.index);
    top.length = min(top.length, 5);
  }
  return [
    `${what} [${shape.join(", ")}]: ${failed} of ${actual.length} elements are wrong`,
    `  max error is ${(100 * worst).toFixed(0)} % of the allowance (rtol ${tolerance.rtol}, atol ${tolerance.atol})`,
    ...top.map(({ index }) => `  ${indexText(index, shape)} expected ${expected[index]}, got ${actual[index]}`),
  ].join("\n");
}

/** Bit for bit: for states, copies and determinism. Compares memory, so a NaN equals the same NaN. */
export function assertSameBits(what: string, actual: ArrayBufferView, expected: ArrayBufferView): void {
  const a = Buffer.from(actual.buffer, actual.byteOffset, actual.byteLength);
  const b = Buffer.from(expected.buffer, expected.byteOffset, expected.byteLength);
  if (a.equals(b)) return;
  if (a.length !== b.length) throw new Error(`${what}: ${a.length} bytes, expected ${b.length}`);
  const at = a.findIndex((byte, i) => byte !== b[i]);
  const width = (actual as Partial<Uint8Array>).BYTES_PER_ELEMENT ?? 1;
  const element = floor(at / width);
  const [got, want] = [actual, expected].map((v) => (v as unknown as ArrayLike<number>)[element]);
  throw new Error(`${what}: element ${element} is ${got}, expected exactly ${want}`);
}
