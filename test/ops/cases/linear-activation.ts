/** Runs one case of linear_activation against the reference. */

import { linearActivation } from "../../../src/ops/activation";
import { type Activation, activationCodes } from "../../../src/ops/codes";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { packWeight } from "./linear";

export interface LinearActivationRow {
  readonly m: number;
  readonly width: number; // of the result
  readonly k: number;
  readonly activation: Activation;
  readonly gated: boolean;
  readonly scale: number;
  readonly dtype: FloatDType;
  readonly weightDtype: FloatDType;
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number; // of x and out
}

export const linearActivationBase: LinearActivationRow = {
  m: 5,
  width: 48,
  k: 64,
  activation: "silu",
  gated: true,
  scale: 1,
  dtype: "f32",
  weightDtype: "f32",
  xPad: 0,
  outPad: 0,
  shift: 0,
};

export async function checkLinearActivation(backend: Backend, row: LinearActivationRow): Promise<void> {
  const rng = new Rng(0);
  const { m, width, k, dtype, weightDtype, shift, gated } = row;
  const n = gated ? 2 * width : width;
  const values = rounded(dtype, rng.normal(m * k));
  const weight = rounded(weightDtype, rng.normal(n * k, 0, k ** -0.5));
  const x = backend.place(dtype, [m, k], { values, rowPad: row.xPad, shift });
  const out = backend.place(dtype, [m, n], { rowPad: row.outPad, shift });
  linearActivation(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    weight: packWeight(backend, { n, k, sourceDtype: weightDtype, weightDtype }, weight),
    activation: activationCodes[row.activation],
    gated,
    scale: row.scale,
  });
  const product = reference.linear(m, n, k, values, weight, null);
  const f = reference.activations[row.activation];
  const want = Float64Array.from({ length: m * width }, (_, i) => {
    const at = Math.floor(i / width) * n + (i % width);
    return f(Math.fround(row.scale) * product[at]!) * (gated ? product[at + width]! : 1);
  });
  const all = (await out.values()) as Float32Array;
  const got = Float32Array.from({ length: m * width }, (_, i) => all[Math.floor(i / width) * n + (i % width)]!);
  assertClose("out", [m, width], got, want, toleranceOf(dtype, weightDtype));
  await x.assertUnchanged("x");
}
