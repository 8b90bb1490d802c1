import { type Activation, activationCodes } from "../../src/ops/codes";
import { describeEachBackend } from "../helpers/backends";
import { cases, product } from "../helpers/table";
import {
  type ActivationRow,
  activationBase,
  checkActivation,
  checkScale,
  type ScaleRow,
  scaleBase,
} from "./cases/activation";

const bf16 = { dtype: "bf16", outDtype: "bf16" } as const;
const f16 = { dtype: "f16", outDtype: "f16" } as const;
/** Everywhere: rows, widths, strides, alignment. */
const shapes = [
  { rows: 0 }, // no rows
  { rows: 1 }, // one row
  { rows: 300 }, // more rows than threads
  { width: 1 }, // a single column
  { width: 17 }, // one more than a vector
  { width: 4104 }, // a large model's width
  { xPad: 96, outPad: 8 }, // a half of wider rows
  { xPad: 7, outPad: 5, shift: 1 }, // nothing is aligned
  { ...bf16, xPad: 7, outPad: 5, shift: 1, width: 45 }, // the same in bf16
];

const names = Object.keys(activationCodes) as Activation[];
const activationTable = cases(activationBase, [
  {},
  ...shapes,
  ...product<ActivationRow>({ activation: names, up: [true, false] }),
  ...product<ActivationRow>({ activation: names, spread: [30] }), // where they are 0 or x
  ...product<ActivationRow>({ activation: names }).map((row) => ({ ...row, ...bf16 })),
  { ...f16 },
  { dtype: "bf16" }, // bf16 to f32
  { outDtype: "bf16" }, // f32 to bf16
  { outDtype: "f16", dtype: "bf16" },
  { scale: 0.8839 }, // a multiplier of the gate
  { scale: 0.8839, up: false, activation: "relu2", ...bf16 },
  { broadcast: true, activation: "sigmoid" }, // a gate of whole rows
  { broadcast: true, activation: "sigmoid", ...bf16, rows: 300, width: 264 },
  { broadcast: true, activation: "sigmoid", width: 1 },
  { broadcast: true, activation: "sigmoid", xPad: 3, shift: 1, width: 17 },
  { inPlace: "x" },
  { inPlace: "x", up: false, activation: "relu2" },
  { inPlace: "up", activation: "sigmoid", ...bf16 },
]);

const scaleTable = cases(scaleBase, [
  {},
  ...shapes,
  ...shapes.map((shape) => ({ ...shape, accumulate: true })),
  ...product<ScaleRow>({
    accumulate: [false, true],
    dtype: ["bf16", "f16"],
    outDtype: ["f32"],
  }),
  { ...bf16, accumulate: true, alpha: -1.5 },
  { ...f16, xPad: 8, outPad: 8 },
  { outDtype: "bf16" },
  { inPlace: true, alpha: 12 }, // an embedding's multiplier
  { inPlace: true, xPad: 40, ...bf16 }, // some columns of a projection
]);

describeEachBackend((backend) => {
  describe("activation", () => {
    test.each(activationTable)("$name", ({ row }) => checkActivation(backend, row));
  });
  describe("scale", () => {
    test.each(scaleTable)("$name", ({ row }) => checkScale(backend, row));
  });
});
