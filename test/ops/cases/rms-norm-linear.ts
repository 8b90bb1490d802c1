/** Runs one case of rms_norm_linear against the reference, or as the two ops that it stands for. */
import { linear, rmsNormLinear } from "../../../src/ops/linear";
import { rmsNorm } from "../../../src/ops/norm";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { packWeight } from "./linear";

export interface RmsNormLinearRow {
  readonly m: number; // rows of x
  readonly n: number; // rows of weight
  readonly k: number;
  readonly dtype: FloatDType; // of x
  readonly normedDtype: FloatDType; // of the normalised rows
  readonly weightDtype: FloatDType;
  readonly outDtype: FloatDType; // f32 or normedDtype
  readonly eps: number;
  readonly scale: number; // of x
  readonly bias: boolean;
  readonly alpha: number;
  readonly accumulate: boolean; // onto random numbers
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number; // of x, normed and out
}

export const rmsNormLinearBase: RmsNormLinearRow = {
  m: 5,
  n: 48,
  k: 64,
  dtype: "f32",
  normedDtype: "f32",
  weightDtype: "f32",
  outDtype: "f32",
  eps: 1e-5,
  scale: 1,
  bias: false,
  alpha: 1,
  accumulate: false,
  xPad: 0,
  outPad: 0,
  shift: 0,
};

/** in_proj: activations and weights of 16 bits behind a residual stream in f32. */
export const inProjBf16 = { normedDtype: "bf16", weightDtype: "bf16", outDtype: "bf16" } as const;
export const inProjF16 = { normedDtype: "f16", weightDtype: "f16", outDtype: "f16" } as const;
/** out_proj: activations and weights of 16 bits into a residual stream in f32. */
export const outProjBf16 = { ...inProjBf16, dtype: "bf16", outDtype: "f32", accumulate: true } as const;
export const outProjF16 = { ...inProjF16, dtype: "f16", outDtype: "f32", accumulate: true } as const;

export function rmsNormLinearInputs(row: RmsNormLinearRow) {
  const { m, n, k } = row;
  const rng = new Rng(0);
  return {
    x: rounded(row.dtype, rng.normal(m * k, 0, row.scale)),
    normWeight: rng.normal(k, 1, 0.2),
    weight: rounded(row.weightDtype, rng.normal(n * k, 0, k ** -0.5)),
    bias: row.bias ? rng.normal(n) : null,
    before: row.accumulate ? rounded(row.outDtype, rng.normal(m * n)) : null,
  };
}

export type RmsNormLinearInputs = ReturnType<typeof rmsNormLinearInputs>;

/** `apart`: as rms_norm, then linear. */
export async function launchRmsNormLinear(
  backend: Backend,
  row: RmsNormLinearRow,
  inputs: RmsNormLinearInputs,
  { apart = false } = {},
): Promise<Float32Array> {
  const { m, n, k, shift, eps, alpha, accumulate } = row;
  const { stream } = backend;
  const { before, bias } = inputs;
  const x = backend.place(row.dtype, [m, k], { values: inputs.x, rowPad: row.xPad, shift });
  const normed = backend.place(row.normedDtype, [m, k], { shift });
  const out = backend.place(row.outDtype, [m, n], { ...(before && { values: before }), rowPad: row.outPad, shift });
  const normWeight = backend.floats([k], inputs.normWeight);
  const product = {
    out: out.tensor,
    weight: packWeight(backend, { ...row, sourceDtype: row.weightDtype }, inputs.weight),
    ...(bias && { bias: backend.floats([n], bias) }),
    alpha,
    accumulate,
  };
  if (apart) {
    rmsNorm(stream, { out: normed.tensor, x: x.tensor, weight: normWeight, eps });
    linear(stream, { ...product, x: normed.tensor });
  } else {
    rmsNormLinear(stream, { ...product, x: x.tensor, normWeight, eps, normed: normed.tensor });
  }
  const y = (await out.values()) as Float32Array;
  await normed.values(); // whatever it holds, nothing beside it was written
  await x.assertUnchanged("x");
  return y;
}

export async function checkRmsNormLinear(
  backend: Backend,
  row: RmsNormLinearRow,
  inputs: RmsNormLinearInputs = rmsNormLinearInputs(row),
): Promise<void> {
  const { m, n, k, eps } = row;
  const got = await launchRmsNormLinear(backend, row, inputs);
  const normed = reference.rmsNorm(inputs.x, inputs.normWeight, k, eps);
  const product = reference.linear(m, n, k, normed, inputs.weight, null);
  const want = product.map((y, i) => row.alpha * y + (inputs.bias?.[i % n] ?? 0) + (inputs.before?.[i] ?? 0));
  assertClose("out", [m, n], got, want, toleranceOf(row.normedDtype, row.outDtype));
}
