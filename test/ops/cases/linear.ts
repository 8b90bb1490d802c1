/** Runs one case of linear against the reference. */
import { linear } from "../../../src/ops/linear";
import { packLinearWeight } from "../../../src/ops/pack-linear-weight";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import { encode, type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, tolerances } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";

export interface LinearRow {
  readonly m: number; // rows of x
  readonly n: number; // rows of weight
  readonly k: number;
  readonly dtype: FloatDType; // of x
  readonly sourceDtype: FloatDType; // of the weight as loaded
  readonly weightDtype: FloatDType; // of the weight as packed
  readonly outDtype: FloatDType;
  readonly bias: boolean;
  readonly alpha: number;
  readonly accumulate: boolean; // onto random numbers
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number;
}

export const linearBase: LinearRow = {
  m: 5,
  n: 48,
  k: 64,
  dtype: "f32",
  sourceDtype: "f32",
  weightDtype: "f32",
  outDtype: "f32",
  bias: false,
  alpha: 1,
  accumulate: false,
  xPad: 0,
  outPad: 0,
  shift: 0,
};

/** A model of one type: weight file, packed weight and activations. */
export const linearBf16 = { dtype: "bf16", sourceDtype: "bf16", weightDtype: "bf16", outDtype: "bf16" } as const;
export const linearF16 = { dtype: "f16", sourceDtype: "f16", weightDtype: "f16", outDtype: "f16" } as const;

export function linearInputs({ m, n, k, ...row }: LinearRow) {
  const rng = new Rng(0);
  const x = rounded(row.dtype, rng.normal(m * k));
  const weight = rounded(row.sourceDtype, rng.normal(n * k, 0, k ** -0.5));
  const bias = row.bias ? rng.normal(n) : null;
  const before = row.accumulate ? rounded(row.outDtype, rng.normal(m * n)) : null;
  return { x, weight, bias, before };
}

export type LinearInputs = ReturnType<typeof linearInputs>;

/** The weight as a file of its type has it, packed. */
export function packWeight(
  backend: Backend,
  { n, k, sourceDtype, weightDtype }: Pick<LinearRow, "n" | "k" | "sourceDtype" | "weightDtype">,
  weight: Float32Array,
): Tensor {
  const words = encode(sourceDtype, weight);
  const source = words instanceof Uint16Array ? words : weight;
  return backend.keep(packLinearWeight(backend.stream, source, [n, k], sourceDtype, weightDtype));
}

export async function launchLinear(
  backend: Backend,
  row: LinearRow,
  { x: values, weight, bias, before }: LinearInputs,
): Promise<Float32Array> {
  const { m, n, k, shift } = row;
  const x = backend.place(row.dtype, [m, k], { values, rowPad: row.xPad, shift });
  const out = backend.place(row.outDtype, [m, n], { ...(before && { values: before }), rowPad: row.outPad, shift });
  linear(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    weight: packWeight(backend, row, weight),
    ...(bias && { bias: backend.floats([n], bias) }),
    alpha: row.alpha,
    accumulate: row.accumulate,
  });
  const y = (await out.values()) as Float32Array;
  await x.assertUnchanged("x");
  return y;
}

export async function checkLinear(backend: Backend, row: LinearRow): Promise<void> {
  const { m, n, k, weightDtype, outDtype } = row;
  const inputs = linearInputs(row);
  const got = await launchLinear(backend, row, inputs);
  const product = reference.linear(m, n, k, inputs.x, rounded(weightDtype, inputs.weight), null);
  const want = product.map((y, i) => row.alpha * y + (inputs.bias?.[i % n] ?? 0) + (inputs.before?.[i] ?? 0));
  assertClose("out", [m, n], got, want, tolerances[outDtype]);
}
