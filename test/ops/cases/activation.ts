/** Runs one case of activation and of scale against the reference. */
import { activation, scale } from "../../../src/ops/activation";
import { type Activation, activationCodes } from "../../../src/ops/codes";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";

export interface ActivationRow {
  readonly rows: number;
  readonly width: number;
  readonly activation: Activation;
  readonly scale: number;
  readonly up: boolean;
  readonly broadcast: boolean; // x is [rows, 1]
  readonly spread: number; // of x
  readonly dtype: FloatDType; // of x and up
  readonly outDtype: FloatDType;
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number;
  readonly inPlace: "x" | "up" | null; // what out is
}

export const activationBase: ActivationRow = {
  rows: 5,
  width: 96,
  activation: "silu",
  scale: 1,
  up: true,
  broadcast: false,
  spread: 2,
  dtype: "f32",
  outDtype: "f32",
  xPad: 0,
  outPad: 0,
  shift: 0,
  inPlace: null,
};

export async function checkActivation(backend: Backend, row: ActivationRow): Promise<void> {
  const rng = new Rng(0);
  const { rows, width, dtype, outDtype, shift, inPlace } = row;
  const xWidth = row.broadcast ? 1 : width;
  const xValues = rounded(dtype, rng.normal(rows * xWidth, 0, row.spread));
  const upValues = row.up ? rounded(dtype, rng.normal(rows * width)) : null;
  // Halves of one row, as a product of both gives them.
  const gate = backend.place(dtype, [rows, xWidth], { values: xValues, rowPad: row.xPad, shift });
  const up = upValues && backend.place(dtype, [rows, width], { values: upValues, rowPad: row.xPad, shift });
  const out =
    inPlace === "x"
      ? gate
      : inPlace === "up"
        ? up!
        : backend.place(outDtype, [rows, width], { rowPad: row.outPad, shift });
  activation(backend.stream, {
    out: out.tensor,
    x: gate.tensor,
    ...(up && { up: up.tensor }),
    activation: activationCodes[row.activation],
    scale: row.scale,
  });
  const f = reference.activations[row.activation];
  const want = Float64Array.from({ length: rows * width }, (_, i) => {
    const x = xValues[row.broadcast ? Math.floor(i / width) : i]!;
    return f(Math.fround(row.scale) * x) * (upValues?.[i] ?? 1);
  });
  assertClose("out", [rows, width], await out.values(), want, toleranceOf(outDtype));
  if (inPlace !== "x") await gate.assertUnchanged("x");
  if (up && inPlace !== "up") await up.assertUnchanged("up");
}

export interface ScaleRow {
  readonly rows: number;
  readonly width: number;
  readonly alpha: number;
  readonly accumulate: boolean;
  readonly dtype: FloatDType; // of x
  readonly outDtype: FloatDType;
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number;
  readonly inPlace: boolean; // out is x
}

export const scaleBase: ScaleRow = {
  rows: 5,
  width: 96,
  alpha: 0.22,
  accumulate: false,
  dtype: "f32",
  outDtype: "f32",
  xPad: 0,
  outPad: 0,
  shift: 0,
  inPlace: false,
};

export async function checkScale(backend: Backend, row: ScaleRow): Promise<void> {
  const rng = new Rng(0);
  const { rows, width, dtype, outDtype, shift } = row;
  const values = rounded(dtype, rng.normal(rows * width));
  const before = row.accumulate ? rounded(outDtype, rng.normal(rows * width)) : null;
  const x = backend.place(dtype, [rows, width], { values, rowPad: row.xPad, shift });
  const place = { ...(before && { values: before }), rowPad: row.outPad, shift };
  const out = row.inPlace ? x : backend.place(outDtype, [rows, width], place);
  scale(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    alpha: row.alpha,
    accumulate: row.accumulate,
  });
  const want = Float64Array.from(values, (v, i) => {
    return Math.fround(row.alpha) * v + (before?.[i] ?? 0);
  });
  assertClose("out", [rows, width], await out.values(), want, toleranceOf(outDtype));
  if (!row.inPlace) await x.assertUnchanged("x");
}
