/** Runs one case of linear, rms_norm_linear or grouped_linear with a weight of codes against the reference. */

import { activationCodes } from "../../../src/ops/codes";
import { linear, rmsNormLinear } from "../../../src/ops/linear";
import { groupedLinear } from "../../../src/ops/moe";
import { packExpertWeights } from "../../../src/ops/pack-expert-weights";
import { packLinearWeight } from "../../../src/ops/pack-linear-weight";
import type { CodeDtype } from "../../../src/tensor/dtype";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import { encode, type FloatDType, fromE4m3, rounded, toE4m3 } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import { type Codes, dequantized, packedRows, randomCodes } from "../../helpers/codes";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";

export interface QuantizedRow {
  readonly codes: CodeDtype;
  readonly group: number; // codes of a row that share a scale
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly dtype: FloatDType; // of x
  readonly outDtype: FloatDType;
  readonly bias: boolean;
  readonly alpha: number;
  readonly accumulate: boolean;
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number;
  /** Rows of the weight whose scales are the same. */
  readonly groupRows: number;
  readonly quantizeX: boolean;
}

export const quantizedBase: QuantizedRow = {
  codes: "i8",
  group: 128,
  m: 5,
  n: 48,
  k: 256,
  dtype: "bf16",
  outDtype: "f32",
  bias: false,
  alpha: 1,
  accumulate: false,
  xPad: 0,
  outPad: 0,
  shift: 0,
  groupRows: 1,
  quantizeX: false,
};

/**
 * Rows of x that a backend rounds to codes, from the first on: a Hopper GPU more than 16, and more than 64 where the library has such
 * products; with scales of groups, these in fours.
 */
function quantizedRows(backend: Backend, row: QuantizedRow): number {
  const { m, n, k, group, dtype, bias, xPad, outPad, shift } = row;
  const device = backend.device.describe();
  if (!row.quantizeX || device.kind !== "cuda" || device.capability !== "9.0") return 0;
  if (m <= 16 || dtype === "f32" || k % 8 !== 0 || xPad % 8 !== 0 || shift !== 0) return 0;
  if (m <= 64) return m;
  if (bias || n % 16 !== 0 || outPad % 8 !== 0) return 0;
  return group >= k ? m : m - (m % 4);
}

/** x with its first rows as their codes mean them: the largest of a row, or of 128 of it, becomes 448. */
function roundedRows(x: Float32Array, rows: number, { k, group }: QuantizedRow): Float32Array {
  const values = x.slice();
  const share = group >= k ? k : 128;
  for (let row = 0; row < rows; row++) {
    for (let first = row * k; first < (row + 1) * k; first += share) {
      const part = values.subarray(first, Math.min(first + share, (row + 1) * k));
      const most = part.reduce((all, value) => Math.max(all, Math.abs(value)), 0);
      const scale = Math.fround(most / 448) || 1;
      const inverse = Math.fround(1 / scale);
      part.forEach((value, i) => {
        part[i] = scale * fromE4m3(toE4m3(Math.fround(value * inverse)));
      });
    }
  }
  return values;
}

export function packCodes(
  backend: Backend,
  weight: Codes,
  to: CodeDtype | FloatDType = weight.codes,
  quantizeX = false,
): Tensor {
  const { codes, n, k, group, scales, offsets } = weight;
  const quantization = { group, quantizeX, scales, offsets };
  return backend.keep(packLinearWeight(backend.stream, packedRows(weight), [n, k], codes, to, quantization));
}

export function quantizedInputs(row: QuantizedRow) {
  const rng = new Rng(7);
  const { m, n, k, group, groupRows } = row;
  const x = rounded(row.dtype, rng.normal(m * k));
  const weight = randomCodes(rng, row.codes, n, k, group);
  const groups = Math.ceil(k / group);
  const scales = weight.scales.map((_, i) => {
    const at = Math.floor(i / groups);
    return weight.scales[(at - (at % groupRows)) * groups + (i % groups)]!;
  });
  return {
    x,
    weight: { ...weight, scales },
    bias: row.bias ? rng.normal(n) : null,
    before: row.accumulate ? rounded(row.outDtype, rng.normal(m * n)) : null,
  };
}

export type QuantizedInputs = ReturnType<typeof quantizedInputs>;

export async function launchQuantized(
  backend: Backend,
  row: QuantizedRow,
  { x: values, bias, before }: Pick<QuantizedInputs, "x" | "bias" | "before">,
  weight: Tensor,
): Promise<Float32Array> {
  const { m, n, k, shift } = row;
  const x = backend.place(row.dtype, [m, k], { values, rowPad: row.xPad, shift });
  const out = backend.place(row.outDtype, [m, n], { ...(before && { values: before }), rowPad: row.outPad, shift });
  linear(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    weight,
    ...(bias && { bias: backend.floats([n], bias) }),
    alpha: row.alpha,
    accumulate: row.accumulate,
  });
  const y = (await out.values()) as Float32Array;
  await x.assertUnchanged("x");
  return y;
}

/**
 * How precise sums are. A GPU widens a weight for many rows, in the type of x; where it multiplies codes by codes, its tensor
 * cores keep 14 bits of a sum (DeepSeek-V3, arXiv 2412.19437, section 3.3.2).
 */
function sumsOf(backend: Backend, row: QuantizedRow): FloatDType {
  if (row.m > 64) return row.dtype;
  return quantizedRows(backend, row) > 0 ? "f16" : row.outDtype;
}

export async function checkQuantized(backend: Backend, row: QuantizedRow): Promise<void> {
  const { m, n, k, outDtype } = row;
  const inputs = quantizedInputs(row);
  const packed = packCodes(backend, inputs.weight, row.codes, row.quantizeX);
  const got = await launchQuantized(backend, row, inputs, packed);
  const x = roundedRows(inputs.x, quantizedRows(backend, row), row);
  const product = reference.linear(m, n, k, x, dequantized(inputs.weight), null);
  const want = product.map((y, i) => row.alpha * y + (inputs.bias?.[i % n] ?? 0) + (inputs.before?.[i] ?? 0));
  assertClose("out", [m, n], got, want, toleranceOf(outDtype, sumsOf(backend, row)));
}

/** The rows of a norm: `dtype` is of the normalised ones. */
export interface NormedQuantizedRow extends QuantizedRow {
  readonly xDtype: FloatDType;
}

export const normedQuantizedBase: NormedQuantizedRow = { ...quantizedBase, xDtype: "f32" };

export async function checkNormedQuantized(backend: Backend, row: NormedQuantizedRow): Promise<void> {
  const { m, n, k, dtype, xDtype, outDtype, alpha, accumulate, shift } = row;
  const { x: values, weight, bias, before } = quantizedInputs({ ...row, dtype: xDtype });
  const size = 16 * k ** -0.5; // so that products are as large as at k = 256
  const [eps, factors] = [1e-5, new Rng(11).normal(k, size, 0.2 * size)];
  const x = backend.place(xDtype, [m, k], { values, rowPad: row.xPad, shift });
  const normed = backend.place(dtype, [m, k], { shift });
  const out = backend.place(outDtype, [m, n], { ...(before && { values: before }), rowPad: row.outPad, shift });
  rmsNormLinear(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    normWeight: backend.floats([k], factors),
    eps,
    normed: normed.tensor,
    weight: packCodes(backend, weight, row.codes, row.quantizeX),
    ...(bias && { bias: backend.floats([n], bias) }),
    alpha,
    accumulate,
  });
  const got = (await out.values()) as Float32Array;
  await normed.values(); // whatever it holds, nothing beside it was written
  await x.assertUnchanged("x");
  const product = reference.linear(m, n, k, reference.rmsNorm(values, factors, k, eps), dequantized(weight), null);
  const want = product.map((y, i) => alpha * y + (bias?.[i % n] ?? 0) + (before?.[i] ?? 0));
  assertClose("out", [m, n], got, want, toleranceOf(dtype, outDtype));
}

/** A matrix of floats as the addon quantizes it. */
export function packFloats(backend: Backend, { codes, n, k, group }: QuantizedRow, values: Float32Array): Tensor {
  const source = encode("bf16", values) as Uint16Array;
  return backend.keep(packLinearWeight(backend.stream, source, [n, k], "bf16", codes, { group }));
}

export interface QuantizedExpertsRow extends Pick<QuantizedRow, "codes" | "group" | "n" | "k" | "dtype" | "outDtype"> {
  /** Rows of each expert. */
  readonly rows: readonly number[];
  readonly gated: boolean;
}

export const quantizedExpertsBase: QuantizedExpertsRow = {
  codes: "i8",
  group: 128,
  n: 64,
  k: 256,
  dtype: "bf16",
  outDtype: "f32",
  rows: [3, 0, 20, 1],
  gated: false,
};

/** grouped_linear against linear's reference, expert by expert, its rows gathered in reverse. */
export async function checkQuantizedExperts(backend: Backend, row: QuantizedExpertsRow): Promise<void> {
  const { codes, group, n, k, rows, gated } = row;
  const rng = new Rng(9);
  const experts = rows.length;
  const count = rows.reduce((sum, each) => sum + each, 0);
  const weight = randomCodes(rng, codes, experts * n, k, group);
  const values = rounded(row.dtype, rng.normal(count * k));
  const { scales, offsets } = weight;
  const packed = backend.keep(
    packExpertWeights(backend.stream, packedRows(weight), [experts, n, k], codes, codes, { group, scales, offsets }),
  );
  const columns = gated ? n / 2 : n;
  const out = backend.place(row.outDtype, [count, columns]);
  const begins = [0];
  for (const each of rows) begins.push(begins.at(-1)! + each);
  groupedLinear(backend.stream, {
    out: out.tensor,
    x: backend.place(row.dtype, [count, k], { values }).tensor,
    weight: packed,
    offsets: backend.integers(begins),
    rowToken: backend.integers(Array.from({ length: count }, (_, i) => count - 1 - i)),
    activation: gated ? activationCodes.silu : activationCodes.identity,
    gated,
  });
  const floats = dequantized(weight);
  const want = new Float64Array(count * columns);
  for (let e = 0; e < experts; e++) {
    for (let r = begins[e]!; r < begins[e + 1]!; r++) {
      const x = values.subarray((count - 1 - r) * k, (count - r) * k);
      const y = reference.linear(1, n, k, x, floats.subarray(e * n * k, (e + 1) * n * k), null);
      for (let c = 0; c < columns; c++) {
        want[r * columns + c] = gated ? reference.activations.silu(y[c]!) * y[columns + c]! : y[c]!;
      }
    }
  }
  assertClose("out", [count, columns], (await out.values()) as Float32Array, want, toleranceOf(row.outDtype));
}
