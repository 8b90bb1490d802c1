import type { Part } from "./part";

/** How the values of a tensor without a checkpoint are drawn. */
export type InitialLaw =
  | { readonly law: "normal"; readonly deviation: number }
  /** Between the limits, and then mapped. */
  | { readonly law: "uniform"; readonly low: number; readonly high: number; readonly map?: (value: number) => number }
  | { readonly law: "constant"; readonly value: number };

/** What a tensor is like that no checkpoint gives, so that models of such tensors compute what trained ones could. */
export interface Initial {
  readonly law: InitialLaw;
  /** Published checkpoints keep it in f32, whatever type the matrices have. */
  readonly f32?: boolean;
}

export const initial = {
  matrix: { law: { law: "normal", deviation: 0.02 } },
  ones: { law: { law: "constant", value: 1 } },
  zeros: { law: { law: "constant", value: 0 } },
} as const satisfies Record<string, Initial>;

/**
 * Values of a sequence (see fillDummy), with offsets and sizes as if it lay in a file, in the tensor's type: so a slice of a tensor has
 * the values that it has in the whole.
 */
export interface DummyPart extends Part {
  readonly seed: number;
  readonly law: InitialLaw;
}

/**
 * All tensors of a model begin somewhere in one sequence: it is drawn once, and a model of seven billion is copies of it. A tensor that
 * is made of others, such as a stack of experts, consists of their values.
 */
export function dummyPart(
  name: string,
  law: InitialLaw,
  seed: number,
  elements: number,
  elementBytes: number,
): DummyPart {
  const start = dummySeed(name, seed) % DUMMY_PERIOD;
  return { seed, law, offset: start * elementBytes, bytes: elements * elementBytes };
}

/** A seed of 32 bits for one tensor (FNV-1a of its name, started from the run's seed). */
export function dummySeed(name: string, seed: number): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** After this many values a tensor's sequence repeats. A prime, so that the rows of a matrix still differ. */
export const DUMMY_PERIOD = 2 ** 20 + 7;

/**
 * Writes values start, start + 1, ... of the tensor's sequence: a pure function of (law, seed, position), so that a large
 * tensor can be filled in pieces, in any order.
 *
 * Only the first DUMMY_PERIOD values are drawn and the rest is copied: a model of seven billion would take a minute. Normals
 * are looked up in a table of 65,536 quantiles by a hash of the position: two multiplications a value, against a logarithm
 * and a cosine of Box-Muller, and still more distinct values than bf16 keeps of them.
 */
export function fillDummy(law: InitialLaw, seed: number, out: Float32Array, start = 0): void {
  const first = start % DUMMY_PERIOD;
  const tail = out.subarray(0, DUMMY_PERIOD - first);
  draw(law, seed, tail, first);
  draw(law, seed, out.subarray(tail.length, DUMMY_PERIOD), 0);
  repeat(out, DUMMY_PERIOD);
}

/** Calls `fill` for each run of values, with its place in the sequence and in what the parts are together. */
function forRuns(
  parts: readonly DummyPart[],
  elementBytes: number,
  fill: (part: DummyPart, start: number, at: number, count: number) => void,
): void {
  let at = 0;
  for (const part of parts) {
    const { offset, bytes, rows = { bytes, stride: bytes } } = part;
    const count = rows.bytes / elementBytes;
    for (const end = at + bytes / elementBytes, start = at; at < end; at += count) {
      fill(part, (offset + ((at - start) / count) * rows.stride) / elementBytes, at, count);
    }
  }
}

/** All values of parts. */
export function dummyValues(parts: readonly DummyPart[], elementBytes: number): Float32Array {
  const values = new Float32Array(parts.reduce((sum, { bytes }) => sum + bytes, 0) / elementBytes);
  forRuns(parts, elementBytes, ({ law, seed }, start, at, count) => {
    fillDummy(law, seed, values.subarray(at, at + count), start);
  });
  return values;
}

/** The same from the first DUMMY_PERIOD values of each sequence, in whatever type. */
export function copyDummies<A extends Float32Array | Uint16Array>(
  parts: readonly DummyPart[],
  elementBytes: number,
  drawnOf: (part: DummyPart) => A,
  out: A,
): void {
  forRuns(parts, elementBytes, (part, start, at, count) => {
    copyPeriods(drawnOf(part), start, out.subarray(at, at + count) as A);
  });
}

/** Elements start, start + 1, ... of a sequence, of which `period` holds one period. */
export function copyPeriods<A extends Float32Array | Uint16Array | Uint8Array>(period: A, start: number, out: A): void {
  for (let done = 0; done < out.length; ) {
    const first = (start + done) % period.length;
    const piece = period.subarray(first, first + out.length - done);
    out.set(piece, done);
    done += piece.length;
  }
}

/** Copies the first `period` elements over and over to the end. */
function repeat(out: Float32Array, period: number): void {
  for (let at = period; at < out.length; at += period) out.copyWithin(at, 0, period);
}

function draw(law: InitialLaw, seed: number, out: Float32Array, start: number): void {
  switch (law.law) {
    case "constant":
      out.fill(law.value);
      return;
    case "normal":
      fillFromTable(normalTable(), law.deviation, seed, out, start);
      return;
    case "uniform": {
      const { low, high, map = (value) => value } = law;
      fillWith((u) => map(low + u * (high - low)), seed, out, start);
      return;
    }
  }
}

// A local name: in a sandbox with its own global object, such as a test runner's, looking Math up costs more than the hash.
const { imul } = Math;

/** "lowbias32" of C. Wellons. The seed goes in twice: once only, and the sequences of two seeds would be shuffled copies. */
function hashAt(position: number, seed: number): number {
  let hash = position ^ seed;
  hash = imul(hash ^ (hash >>> 16), 0x21f0aaad) + seed;
  hash = imul(hash ^ (hash >>> 15), 0x735a2d97);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function fillWith(value: (u: number) => number, seed: number, out: Float32Array, start: number): void {
  for (let i = 0; i < out.length; i++) out[i] = value((hashAt(start + i, seed) + 0.5) / 2 ** 32);
}

function fillFromTable(table: Float32Array, scale: number, seed: number, out: Float32Array, start: number): void {
  for (let i = 0; i < out.length; i++) out[i] = scale * table[hashAt(start + i, seed) >>> 16]!;
}

const tableSize = 65_536;
let normals: Float32Array | undefined;

function normalTable(): Float32Array {
  normals ??= Float32Array.from({ length: tableSize }, (_, i) => normalQuantile((i + 0.5) / tableSize));
  return normals;
}

/** Inverse of the normal distribution function (Acklam's rational approximation, relative error below 1.2e-9). */
function normalQuantile(p: number): number {
  if (p > 0.5) return -normalQuantile(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    const c = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734];
    const top = polynomial([...c, 4.374664141464968, 2.938163982698783], q);
    const d = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    return top / polynomial([...d, 1], q);
  }
  const q = p - 0.5;
  const r = q * q;
  const a = [-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2];
  const b = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1];
  const top = q * polynomial([...a, -3.066479806614716e1, 2.506628277459239], r);
  return top / polynomial([...b, -1.328068155288572e1, 1], r);
}

/** Coefficients from the highest power down. */
function polynomial(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
}
