/** The ops in float64, straight from their definitions: explicit loops, token by token. Slow and readable. */

import type { Activation, RouterScore } from "../../src/ops/codes";

type Values = ArrayLike<number>;
/** The inner loops read arrays of one type only: with several an access takes five times as long. */
const doubles = (values: Values): Float64Array => (values instanceof Float64Array ? values : new Float64Array(values));

// Jest looks a global up ten times slower than a local, and these loops run a billion times.
const { abs, cos, exp, floor, log, log1p, max, min, PI, sin, sqrt, tanh } = Math;
export const silu = (x: number): number => x / (1 + exp(-x));
/** log(1 + e^x). */
export const softplus = (x: number): number => max(x, 0) + log1p(exp(-abs(x)));

/** 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x: a series, and for large x its asymptotic expansion. */
function erf(x: number): number {
  const square = x * x;
  if (square > 9) {
    const tail = 1 - 1 / (2 * square) + 3 / (4 * square ** 2) - 15 / (8 * square ** 3) + 105 / (16 * square ** 4);
    return (x < 0 ? -1 : 1) * (1 - (exp(-square) / (abs(x) * sqrt(PI))) * tail);
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= -square / n;
    sum += term / (2 * n + 1);
  }
  return (2 / sqrt(PI)) * sum;
}

export const sigmoid = (x: number): number => 1 / (1 + exp(-x));

export const activations: Readonly<Record<Activation, (x: number) => number>> = {
  identity: (x) => x,
  silu,
  gelu: (x) => (x * (1 + erf(x / sqrt(2)))) / 2,
  geluTanh: (x) => (x * (1 + tanh(sqrt(2 / PI) * (x + 0.044715 * x ** 3)))) / 2,
  relu2: (x) => max(x, 0) ** 2,
  sigmoid,
};

export interface Router {
  readonly k: number;
  readonly score: RouterScore;
  readonly bias: Values | null; // [experts]
  readonly groups: number;
  readonly keptGroups: number;
  readonly normalise: boolean;
  readonly scale: number;
}

/** The experts of one token and their weights. */
export function route(logits: Values, p: Router): { ids: number[]; weights: number[] } {
  const scores = p.score === "softmax" ? logSoftmax(logits).map(exp) : Float64Array.from(logits, sigmoid);
  const biased = scores.map((s, e) => s + (p.bias?.[e] ?? 0));
  const size = scores.length / p.groups;
  const groupScores = Float64Array.from({ length: p.groups }, (_, g) => {
    const [best, second] = biased.slice(g * size, (g + 1) * size).sort((a, b) => b - a);
    return best! + (second ?? 0);
  });
  const kept = new Set(ranking(groupScores).slice(0, p.keptGroups));
  const ids = ranking(biased.map((s, e) => (kept.has(floor(e / size)) ? s : Number.NEGATIVE_INFINITY))).slice(0, p.k);
  const total = p.normalise ? ids.reduce((sum, e) => sum + scores[e]!, 1e-20) : 1;
  return { ids, weights: ids.map((e) => (p.scale * scores[e]!) / total) };
}

export interface Conv {
  readonly tokens: number;
  readonly dim: number;
  readonly width: number;
  readonly x: Values; // [tokens, dim]
  readonly history: Values | null; // [width - 1, dim], the oldest first; null = zeros
  readonly weight: Values; // [width, dim]
  readonly bias: Values | null; // [dim]
  readonly silu: boolean;
}

/** One sequence. `window` is what the next call's history must be. */
export function causalConv1d(p: Conv): { out: Float64Array; window: Float64Array } {
  const { tokens, dim, width } = p;
  const inputs = new Float64Array((width - 1 + tokens) * dim);
  if (p.history) inputs.set(p.history);
  inputs.set(p.x, (width - 1) * dim);
  const { weight } = p; // out of the inner loop
  const out = new Float64Array(tokens * dim);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < dim; i++) {
      let sum = p.bias ? p.bias[i]! : 0;
      for (let j = 0; j < width; j++) sum += weight[j * dim + i]! * inputs[(t + j) * dim + i]!;
      out[t * dim + i] = p.silu ? silu(sum) : sum;
    }
  }
  return { out, window: inputs.subarray(tokens * dim) };
}

export interface Ssd {
  readonly tokens: number;
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly stateSize: number;
  readonly x: Values; // [tokens, heads, headDim]
  readonly b: Values; // [tokens, groups, stateSize]
  readonly c: Values; // [tokens, groups, stateSize]
  readonly z: Values | null; // [tokens, heads, headDim]
  readonly dt: Values; // [tokens, heads] or [tokens, heads, headDim]
  readonly a: Values; // [heads] or [heads, headDim, stateSize]
  readonly d: Values | null; // [heads] or [heads, headDim]
  readonly dtBias: Values | null; // [heads] or [heads, headDim]
  readonly dtMin: number;
  readonly dtMax: number;
  readonly dtSoftplus: boolean;
}

/** One sequence through the recurrence. `state` [heads, headDim, stateSize] moves on in place. */
export function ssdRecurrence(p: Ssd, state: Float64Array): Float64Array {
  const { tokens, heads, headDim, groups, stateSize } = p;
  const channels = heads * headDim;
  // Index of a parameter that is given once per head or once per channel.
  const at = (values: Values, count: number, channel: number) =>
    values.length === count * channels ? channel : floor(channel / headDim);
  const aPerHead = p.a.length === heads;
  const [a, b, c] = [p.a, p.b, p.c].map(doubles) as [Float64Array, Float64Array, Float64Array];
  const out = new Float64Array(tokens * channels);
  for (let t = 0; t < tokens; t++) {
    for (let channel = 0; channel < channels; channel++) {
      const head = floor(channel / headDim);
      const x = p.x[t * channels + channel]!;
      let dt = p.dt[t * (p.dt.length / tokens) + at(p.dt, tokens, channel)]!;
      if (p.dtBias) dt += p.dtBias[at(p.dtBias, 1, channel)]!;
      if (p.dtSoftplus) dt = softplus(dt);
      dt = min(max(dt, p.dtMin), p.dtMax);
      const gain = dt * x;
      let decay = aPerHead ? exp(dt * a[head]!) : 0;
      let s = channel * stateSize;
      let bc = (t * groups + floor(head / (heads / groups))) * stateSize;
      let y = 0;
      for (let n = 0; n < stateSize; n++, s++, bc++) {
        if (!aPerHead) decay = exp(dt * a[s]!);
        const value = decay * state[s]! + gain * b[bc]!;
        state[s] = value;
        y += value * c[bc]!;
      }
      if (p.d) y += p.d[at(p.d, 1, channel)]! * x;
      if (p.z) y *= silu(p.z[t * channels + channel]!);
      out[t * channels + channel] = y;
    }
  }
  return out;
}

/** x [heads, headDim] of one token: the two halves of its first 2 * invFreq.length channels turned by the angles. */
export function rope(x: Values, headDim: number, position: number, invFreq: Values, factor: number): Float64Array {
  const out = Float64Array.from(x);
  const half = invFreq.length;
  for (let head = 0; head < x.length; head += headDim) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * invFreq[i]!); // a float, as in transformers
      const [a, b] = [x[head + i]!, x[head + half + i]!];
      out[head + i] = factor * (a * cos(angle) - b * sin(angle));
      out[head + half + i] = factor * (b * cos(angle) + a * sin(angle));
    }
  }
  return out;
}

/** Each run of `group` elements of x [rows, width] divided by its own root mean square. */
export function rmsNorm(x: Values, weight: Values, group: number, eps: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += group) {
    let squares = 0;
    for (let i = start; i < start + group; i++) squares += x[i]! ** 2;
    const scale = 1 / sqrt(squares / group + eps);
    for (let i = start; i < start + group; i++) out[i] = x[i]! * scale * weight[i % weight.length]!;
  }
  return out;
}

export function gatedRmsNorm(x: Values, gate: Values, weight: Values, group: number, eps: number): Float64Array {
  const product = Float64Array.from({ length: x.length }, (_, i) => x[i]! * silu(gate[i]!));
  return rmsNorm(product, weight, group, eps);
}

/** x [m, k] times the transpose of weight [n, k], plus bias [n]. */
export function linear(m: number, n: number, k: number, x: Values, weight: Values, bias: Values | null): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = bias ? bias[j]! : 0;
      for (let l = 0; l < k; l++) sum += x[i * k + l]! * weight[j * k + l]!;
      out[i * n + j] = sum;
    }
  }
  return out;
}

/** Natural log of softmax of one row. */
export function logSoftmax(logits: Values): Float64Array {
  const row = Float64Array.from(logits);
  const peak = row.reduce((a, b) => max(a, b));
  const logSum = peak + log(row.reduce((sum, x) => sum + exp(x - peak), 0));
  return row.map((x) => x - logSum);
}

/** Token ids by descending logit; equal ones by ascending id. */
export function ranking(logits: Values): number[] {
  return Array.from({ length: logits.length }, (_, i) => i).sort((i, j) => logits[j]! - logits[i]! || i - j);
}

export interface Filters {
  readonly temperature: number;
  readonly topK: number; // 0 = off
  readonly topP: number; // 1 = off
  readonly minP: number; // 0 = off
}

/**
 * The distribution that one row is drawn from: temperature, then top-k, top-p, min-p, renormalised at the end. A token as
 * likely as the last one kept is kept too.
 */
export function samplingDistribution(logits: Values, f: Filters): Float64Array {
  const result = new Float64Array(logits.length);
  let kept = ranking(logits).filter((id) => logits[id]! > Number.NEGATIVE_INFINITY);
  if (f.temperature === 0) return result.fill(1, kept[0]!, kept[0]! + 1);
  const probabilities = () => logSoftmax(kept.map((id) => logits[id]! / f.temperature)).map(exp);
  const keepFirst = (count: number) => {
    const least = logits[kept[min(count, kept.length) - 1]!]!;
    kept = kept.filter((id) => logits[id]! >= least);
  };
  if (f.topK > 0) keepFirst(f.topK);
  let mass = 0;
  const inNucleus = probabilities().filter((p) => {
    mass += p;
    return mass - p < f.topP;
  });
  keepFirst(inNucleus.length);
  keepFirst(probabilities().filter((p, _, all) => p >= f.minP * all[0]!).length);
  probabilities().forEach((p, i) => {
    result[kept[i]!] = p;
  });
  return result;
}

export interface PenaltyStrengths {
  readonly repetition: number; // 1 = off
  readonly presence: number; // 0 = off
  readonly frequency: number; // 0 = off
}

/** Logits after the penalties for a sequence, which is two lists of token ids. */
export function penalise(
  logits: Values,
  { prompt, output }: { prompt: readonly number[]; output: readonly number[] },
  p: PenaltyStrengths,
): Float64Array {
  const result = Float64Array.from(logits);
  for (const id of new Set([...prompt, ...output])) {
    result[id] = result[id]! > 0 ? result[id]! / p.repetition : result[id]! * p.repetition;
  }
  for (const id of output) result[id]! -= p.frequency;
  for (const id of new Set(output)) result[id]! -= p.presence;
  return result;
}
