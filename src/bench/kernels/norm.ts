import { gatedRmsNorm, rmsNorm } from "../../ops/norm";
import { type DeltaLayer, type Geometry, innerOf, type Layer, projectedOf } from "../geometries";
import { ACTIVATION, type Build, type Cases, type CasesOf, FLOAT, type KernelCase } from "../kernel-case";

/** Decode batches, and a prefill. */
const batches = [1, 8, 64, 256, 8192];
const CHECKED_ROWS = 256;
const EPS = 1e-5;

export const rmsNormCases: Cases = (geometry) => {
  const { hidden } = geometry;
  return batches.map((rows) =>
    caseOf("rms_norm", geometry, `width ${hidden}`, rows, plain, {
      // x, the f32 residual in and out, out.
      bytes: rows * hidden * (2 * ACTIVATION + 2 * FLOAT) + hidden * FLOAT,
      // The addition, the square and its sum, two factors.
      flops: 5 * rows * hidden,
    }),
  );
};

export const gatedRmsNormCases: Cases = (geometry) => {
  const inner = innerOf(geometry);
  const shape = `width ${inner}, ${geometry.groups} group${geometry.groups === 1 ? "" : "s"}`;
  return batches.map((rows) =>
    caseOf("gated_rms_norm", geometry, shape, rows, gated, {
      // x, the gate, out.
      bytes: rows * inner * 3 * ACTIVATION + inner * FLOAT,
      // silu (exponential, addition, division, product) and its product with x, the square and its sum, two factors.
      flops: 9 * rows * inner,
    }),
  );
};

/** The norm of a gated delta net: of each head alone, and before the gate. */
export const normBeforeGateCases: CasesOf<DeltaLayer> = (layer) => {
  const { valueHeads, valueDim } = layer;
  const width = valueHeads * valueDim;
  return batches.map((rows) =>
    caseOf("gated_rms_norm", layer, `width ${width}, ${valueHeads} groups before the gate`, rows, beforeGate, {
      bytes: rows * width * 3 * ACTIVATION + width * FLOAT,
      flops: 9 * rows * width,
    }),
  );
};

function caseOf<Sizes extends Layer>(
  op: "rms_norm" | "gated_rms_norm",
  geometry: Sizes,
  shape: string,
  rows: number,
  build: (geometry: Sizes, rows: number) => Build,
  work: { bytes: number; flops: number },
): KernelCase {
  const checked = Math.min(rows, CHECKED_ROWS);
  return {
    op,
    name: `${shape}, B=${rows}`,
    geometry,
    tokens: rows,
    stateDtype: null,
    ...work,
    timed: build(geometry, rows),
    checked: build(geometry, checked),
    checkedName: `${shape}, B=${checked}`,
  };
}

function plain({ hidden }: Geometry, rows: number): Build {
  return (inputs) => {
    const args = {
      x: inputs.normal("bf16", [rows, hidden]),
      residual: inputs.normal("f32", [rows, hidden]),
      weight: inputs.normal("f32", [hidden]),
      out: inputs.output("bf16", [rows, hidden]),
      eps: EPS,
    };
    const { out, residual } = args;
    return { launch: () => rmsNorm(inputs.stream, args), outputs: { out, residual } };
  };
}

/** As in the mixer, the gate is the first slice of in_proj's rows. */
function gated(geometry: Geometry, rows: number): Build {
  const inner = innerOf(geometry);
  return (inputs) => {
    const out = inputs.output("bf16", [rows, inner]);
    const args = {
      out,
      x: inputs.normal("bf16", [rows, inner]),
      gate: inputs.keep(inputs.normal("bf16", [rows, projectedOf(geometry)]).columns(0, [inner])),
      weight: inputs.normal("f32", [inner]),
      groupSize: inner / geometry.groups,
      eps: EPS,
    };
    return { launch: () => gatedRmsNorm(inputs.stream, args), outputs: { out } };
  };
}

function beforeGate({ valueHeads, valueDim }: DeltaLayer, rows: number): Build {
  const width = valueHeads * valueDim;
  return (inputs) => {
    const out = inputs.output("bf16", [rows, width]);
    const args = {
      out,
      x: inputs.normal("bf16", [rows, width]),
      gate: inputs.normal("bf16", [rows, width]),
      weight: inputs.normal("f32", [width]),
      groupSize: valueDim,
      eps: EPS,
      normBeforeGate: true,
    };
    return { launch: () => gatedRmsNorm(inputs.stream, args), outputs: { out } };
  };
}
