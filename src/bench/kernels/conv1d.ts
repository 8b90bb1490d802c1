import { causalConv1dUpdate, causalConv1dVarlen } from "../../ops/conv1d";
import { convDimOf, type Geometry, innerOf, projectedOf } from "../geometries";
import type { Inputs } from "../inputs";
import { ACTIVATION, type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";
import { mixedPacking, type Packing, packings, packSequences, shortened, tokensOf } from "../sequences";

const batches = [1, 8, 64, 256, 1024];
/** Tokens of a sequence in a check: several blocks of the kernel and a piece. */
const CHECKED_TOKENS = 300;

export const conv1dUpdateCases: Cases = (geometry) =>
  batches.map((rows): KernelCase => {
    const checked = Math.min(rows, 320);
    return {
      op: "causal_conv1d_update",
      name: `dim ${convDimOf(geometry)}, B=${rows}`,
      geometry,
      tokens: rows,
      stateDtype: null,
      ...work(geometry, rows, rows),
      timed: update(geometry, rows),
      checked: update(geometry, checked),
      checkedName: `dim ${convDimOf(geometry)}, B=${checked}`,
    };
  });

export const conv1dVarlenCases: Cases = (geometry) =>
  [...packings, mixedPacking].map((packing): KernelCase => {
    const short = shortened(packing, CHECKED_TOKENS);
    return {
      op: "causal_conv1d_varlen",
      name: `dim ${convDimOf(geometry)}, ${packing.name}`,
      geometry,
      tokens: tokensOf(packing),
      stateDtype: null,
      ...work(geometry, tokensOf(packing), packing.lengths.length),
      timed: varlen(geometry, packing),
      checked: varlen(geometry, short),
      checkedName: `dim ${convDimOf(geometry)}, ${short.name}`,
    };
  });

/** x and out of each token, the window of each sequence in and out, the filter; K products for each output. */
function work(geometry: Geometry, tokens: number, sequences: number): { bytes: number; flops: number } {
  const { convKernel } = geometry;
  const dim = convDimOf(geometry);
  const windows = 2 * sequences * (convKernel - 1) * dim * ACTIVATION;
  const filter = (convKernel + 1) * dim * FLOAT;
  return { bytes: 2 * tokens * dim * ACTIVATION + windows + filter, flops: 2 * convKernel * tokens * dim };
}

/** What both forms take. As in the mixer, x is a slice of in_proj's rows, and out is not. */
function tensors(inputs: Inputs, geometry: Geometry, tokens: number, sequences: number) {
  const dim = convDimOf(geometry);
  const { convKernel } = geometry;
  const projected = inputs.normal("bf16", [tokens, projectedOf(geometry)]);
  return {
    x: inputs.keep(projected.columns(innerOf(geometry), [dim])),
    state: inputs.normal("bf16", [sequences, convKernel - 1, dim]),
    weight: inputs.normal("f32", [convKernel, dim], 0.5),
    bias: inputs.normal("f32", [dim], 0.5),
    out: inputs.output("bf16", [tokens, dim]),
    silu: true,
  };
}

function update(geometry: Geometry, rows: number): Build {
  return (inputs) => {
    const args = tensors(inputs, geometry, rows, rows);
    const slots = inputs.words(Array.from({ length: rows }, (_, i) => rows - 1 - i));
    const { out, state } = args;
    return { launch: () => causalConv1dUpdate(inputs.stream, { ...args, slots }), outputs: { out, state } };
  };
}

function varlen(geometry: Geometry, packing: Packing): Build {
  return (inputs) => {
    const args = tensors(inputs, geometry, tokensOf(packing), packing.lengths.length);
    const sequences = packSequences(inputs, packing, geometry.chunkSize);
    const { out, state } = args;
    return { launch: () => causalConv1dVarlen(inputs.stream, { ...args, ...sequences }), outputs: { out, state } };
  };
}
