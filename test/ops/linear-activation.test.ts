import { describeEachBackend } from "../helpers/backends";
import { cases, product } from "../helpers/table";
import { checkLinearActivation, type LinearActivationRow, linearActivationBase } from "./cases/linear-activation";

const bf16 = { dtype: "bf16", weightDtype: "bf16" } as const;
const relu2 = { activation: "relu2", gated: false } as const;
/** As many outputs as fill a large GPU: few rows of it take a kernel of their own. */
const large = { ...bf16, width: 6400 } as const;

const table = cases(linearActivationBase, [
  {},
  relu2,
  { m: 0 },
  { m: 70 },
  { width: 1 },
  { width: 33 },
  { k: 65 },
  { activation: "geluTanh", scale: 0.7 },
  { ...bf16 },
  { ...bf16, ...relu2 },
  { dtype: "f16", weightDtype: "f16" },
  { dtype: "bf16" },
  { xPad: 7, outPad: 5, shift: 1 },
  ...product<LinearActivationRow>({ m: [1, 3, 8, 9] }).flatMap((row): Partial<LinearActivationRow>[] => [
    { ...large, ...row },
    { ...large, ...row, ...relu2 },
  ]),
  { ...large, m: 1, k: 4480 },
  { ...large, m: 2, k: 96, scale: 0.35 },
  { ...large, m: 2, k: 72 }, // no whole step
  { ...large, width: 6409, m: 2 }, // odd
  { ...large, dtype: "f16", weightDtype: "f16", m: 4 },
  { ...large, m: 3, xPad: 8, outPad: 8 },
  { ...large, m: 3, xPad: 7, outPad: 5, shift: 1 },
  // More rows, of widths that fill such a GPU in tiles.
  ...product<LinearActivationRow>({ m: [9, 17, 33, 64], width: [6001, 8192] }).map((row) => ({
    ...bf16,
    k: 136,
    ...row,
  })),
  { ...bf16, width: 9216, k: 64, m: 40, scale: 0.35, activation: "geluTanh", outPad: 8 },
  { ...bf16, width: 12288, k: 72, m: 12, xPad: 8, outPad: 5 },
  { dtype: "f16", weightDtype: "f16", width: 12283, k: 200, m: 64 },
  ...product<LinearActivationRow>({ m: [65, 150, 300], outPad: [0, 8] }).map((row) => ({
    ...{ ...bf16, width: 1040, k: 264, scale: 0.35 },
    ...row,
  })),
  { dtype: "f16", weightDtype: "f16", width: 2048, k: 328, m: 130, xPad: 8 },
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkLinearActivation(backend, row));
});
