/** Runs one case of the two norms against the reference. */
import { gatedRmsNorm, rmsNorm } from "../../../src/ops/norm";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, type Tolerance, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";

const eps = 1e-5;

export interface RmsRow {
  readonly rows: number;
  readonly width: number;
  readonly dtype: FloatDType; // of x
  readonly outDtype: FloatDType;
  readonly residual: FloatDType | null;
  readonly scale: number; // of x
  readonly xPad: number;
  readonly shift: number;
  readonly inPlace: boolean; // out is x
}

export const rmsBase: RmsRow = {
  rows: 5,
  width: 96,
  dtype: "f32",
  outDtype: "f32",
  residual: null,
  scale: 1,
  xPad: 0,
  shift: 0,
  inPlace: false,
};

export async function checkRms(backend: Backend, row: RmsRow): Promise<void> {
  const rng = new Rng(0);
  const { rows, width, dtype, outDtype } = row;
  const shape = [rows, width];
  const values = rounded(dtype, rng.normal(rows * width, 0, row.scale));
  const before = row.residual && rounded(row.residual, rng.normal(rows * width));
  const weight = rng.normal(width, 1, 0.2);
  const x = backend.place(dtype, shape, { values, rowPad: row.xPad, shift: row.shift });
  const residual = before && row.residual && backend.place(row.residual, shape, { values: before });
  const out = row.inPlace ? x : backend.place(outDtype, shape);
  rmsNorm(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    ...(residual && { residual: residual.tensor }),
    weight: backend.floats([width], weight),
    eps,
  });
  const sum = Float32Array.from(values, (v, i) => v + (before?.[i] ?? 0));
  // Whether the norm sees the residual before or after its own rounding is within the tolerance.
  const types = row.residual ? [dtype, outDtype, row.residual] : [outDtype];
  const want = reference.rmsNorm(sum, weight, width, eps);
  assertClose("out", shape, await out.values(), want, toleranceOf(...types));
  if (!row.inPlace) await x.assertUnchanged("x");
  if (residual && row.residual) {
    assertClose("residual", shape, await residual.values(), sum, toleranceOf(row.residual));
  }
}

export interface GatedRow {
  readonly rows: number;
  readonly width: number;
  readonly groupSize: number;
  readonly normBeforeGate: boolean;
  readonly dtype: FloatDType;
  readonly scale: number; // of x
  readonly xPad: number;
  readonly gatePad: number;
  readonly shift: number;
  readonly inPlace: boolean; // out is x
  readonly tolerance?: Tolerance;
}

export const gatedBase: GatedRow = {
  rows: 5,
  width: 96,
  groupSize: 96,
  dtype: "f32",
  normBeforeGate: false,
  scale: 1,
  xPad: 0,
  gatePad: 0,
  shift: 0,
  inPlace: false,
};

export async function checkGated(backend: Backend, row: GatedRow): Promise<void> {
  const rng = new Rng(0);
  const { rows, width, groupSize, dtype, shift } = row;
  const shape = [rows, width];
  const values = rounded(dtype, rng.normal(rows * width, 0, row.scale));
  const gateValues = rounded(dtype, rng.normal(rows * width));
  const weight = rng.normal(width, 1, 0.2);
  const x = backend.place(dtype, shape, { values, rowPad: row.xPad, shift });
  const gate = backend.place(dtype, shape, { values: gateValues, rowPad: row.gatePad, shift });
  const out = row.inPlace ? x : backend.place(dtype, shape);
  gatedRmsNorm(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    gate: gate.tensor,
    weight: backend.floats([width], weight),
    groupSize,
    eps,
    normBeforeGate: row.normBeforeGate,
  });
  const want = row.normBeforeGate
    ? reference.rmsNorm(values, weight, groupSize, eps).map((value, i) => value * reference.silu(gateValues[i]!))
    : reference.gatedRmsNorm(values, gateValues, weight, groupSize, eps);
  assertClose("out", shape, await out.values(), want, row.tolerance ?? toleranceOf(dtype));
  if (!row.inPlace) await x.assertUnchanged("x");
  await gate.assertUnchanged("gate");
}
