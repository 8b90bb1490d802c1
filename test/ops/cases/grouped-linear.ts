/** Runs one case of grouped_linear against the reference. */
import { type Activation, activationCodes } from "../../../src/ops/codes";
import { groupedLinear } from "../../../src/ops/moe";
import { packExpertWeights } from "../../../src/ops/pack-expert-weights";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import { encode, type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, assertSameBits, tolerances } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { drawIds, type SortRow, sorted } from "./moe";

export interface GroupedLinearRow extends SortRow {
  readonly outputs: number; // n of an expert's weight
  readonly inputs: number; // k of it
  readonly gather: boolean; // x is [tokens, inputs], otherwise [rows, inputs]
  readonly activation: Activation;
  readonly gated: boolean;
  readonly dtype: FloatDType; // of x
  readonly weightDtype: FloatDType;
  readonly outDtype: FloatDType;
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number;
}

export const groupedLinearBase: GroupedLinearRow = {
  tokens: 7,
  experts: 4,
  k: 2,
  ids: "random",
  padding: false,
  outputs: 48,
  inputs: 64,
  gather: true,
  activation: "identity",
  gated: false,
  dtype: "f32",
  weightDtype: "f32",
  outDtype: "f32",
  xPad: 0,
  outPad: 0,
  shift: 0,
};

export const groupedBf16 = { dtype: "bf16", weightDtype: "bf16", outDtype: "bf16" } as const;
export const groupedF16 = { dtype: "f16", weightDtype: "f16", outDtype: "f16" } as const;

export function groupedInputs(row: GroupedLinearRow) {
  const rng = new Rng(0);
  const { experts, outputs, inputs } = row;
  const xRows = row.gather ? row.tokens : row.tokens * row.k;
  return {
    ids: drawIds(row),
    x: rounded(row.dtype, rng.normal(xRows * inputs)),
    weight: rounded(row.weightDtype, rng.normal(experts * outputs * inputs, 0, inputs ** -0.5)),
  };
}

export type GroupedInputs = ReturnType<typeof groupedInputs>;

export function packExperts(backend: Backend, row: GroupedLinearRow, weight: Float32Array): Tensor {
  const words = encode(row.weightDtype, weight);
  const source = words instanceof Uint16Array ? words : weight;
  const shape = [row.experts, row.outputs, row.inputs] as const;
  return backend.keep(packExpertWeights(backend.stream, source, shape, row.weightDtype, row.weightDtype));
}

/** [rows, columns]; rows behind the last are left out. */
export async function launchGrouped(
  backend: Backend,
  row: GroupedLinearRow,
  { ids, x: values, weight }: GroupedInputs,
): Promise<Float32Array> {
  const { inputs, shift, experts } = row;
  const columns = row.gated ? row.outputs / 2 : row.outputs;
  const { rowToken, offsets } = sorted(ids, experts, row.k);
  const x = backend.place(row.dtype, [values.length / inputs, inputs], { values, rowPad: row.xPad, shift });
  const out = backend.place(row.outDtype, [ids.length, columns], { rowPad: row.outPad, shift });
  const before = out.initialWords();
  groupedLinear(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    weight: packExperts(backend, row, weight),
    offsets: backend.integers(offsets),
    ...(row.gather && { rowToken: backend.integers(rowToken) }),
    activation: activationCodes[row.activation],
    gated: row.gated,
  });
  const used = offsets[experts]! * columns;
  const words = await out.words();
  assertSameBits("rows past the last", words.slice(used), before.slice(used));
  await x.assertUnchanged("x");
  return ((await out.values()) as Float32Array).slice(0, used);
}

export async function checkGrouped(backend: Backend, row: GroupedLinearRow): Promise<void> {
  const { experts, outputs, inputs, gated } = row;
  const given = groupedInputs(row);
  const got = await launchGrouped(backend, row, given);
  const { rowToken, offsets } = sorted(given.ids, experts, row.k);
  const columns = gated ? outputs / 2 : outputs;
  const f = reference.activations[row.activation];
  const want = new Float64Array(got.length);
  for (let e = 0; e < experts; e++) {
    const weight = given.weight.subarray(e * outputs * inputs, (e + 1) * outputs * inputs);
    for (let r = offsets[e]!; r < offsets[e + 1]!; r++) {
      const from = (row.gather ? rowToken[r]! : r) * inputs;
      const y = reference.linear(1, outputs, inputs, given.x.subarray(from, from + inputs), weight, null);
      for (let c = 0; c < columns; c++) want[r * columns + c] = f(y[c]!) * (gated ? y[columns + c]! : 1);
    }
  }
  assertClose("out", [got.length / columns, columns], got, want, tolerances[row.outDtype]);
}
