import { activation } from "../../ops/activation";
import { activationCodes } from "../../ops/codes";
import type { MlpLayer } from "../geometries";
import { ACTIVATION, type Build, type CasesOf, type KernelCase } from "../kernel-case";

/** Decode batches, and a prefill. */
const batches = [1, 8, 64, 256, 8192];
const CHECKED_ROWS = 256;

export const activationCases: CasesOf<MlpLayer> = (layer) =>
  batches.map((rows): KernelCase => {
    const { size, gated } = layer;
    const checked = Math.min(rows, CHECKED_ROWS);
    const nameOf = (count: number) => `${gated ? "silu, gate and up" : "relu2"} of ${size}, B=${count}`;
    return {
      op: "activation",
      name: nameOf(rows),
      geometry: layer,
      tokens: rows,
      stateDtype: null,
      bytes: rows * size * (gated ? 3 : 2) * ACTIVATION,
      // silu (exponential, addition, division, product) and its product with up; a comparison and a square.
      flops: (gated ? 5 : 2) * rows * size,
      timed: pointwise(layer, rows),
      checked: pointwise(layer, checked),
      checkedName: nameOf(checked),
    };
  });

/** As in the MLP, gate and up lie beside each other, and the result takes the gate's place. */
function pointwise({ size, gated }: MlpLayer, rows: number): Build {
  return (inputs) => {
    const projected = inputs.normal("bf16", [rows, gated ? 2 * size : size]);
    const out = inputs.output("bf16", [rows, size]);
    const x = gated ? inputs.keep(projected.columns(0, [size])) : projected;
    const up = gated ? inputs.keep(projected.columns(size, [size])) : undefined;
    const code = gated ? activationCodes.silu : activationCodes.relu2;
    return { launch: () => activation(inputs.stream, { out, x, up, activation: code }), outputs: { out } };
  };
}
