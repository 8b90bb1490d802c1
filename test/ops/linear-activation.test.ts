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
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkLinearActivation(backend, row));
});
