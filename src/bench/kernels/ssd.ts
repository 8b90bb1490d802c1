import { recurrentInitial } from "../../layers/recurrent-initial";
import { type SsdStateUpdateArgs, ssdChunkScan, ssdStateUpdate } from "../../ops/ssd";
import { sizeOf } from "../../tensor/dtype";
import { convDimOf, type Geometry, innerOf, projectedOf, shapeOf, stateOf } from "../geometries";
import type { Inputs } from "../inputs";
import { ACTIVATION, type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";
import { longPacking, type Packing, packings, packSequences, shortened, tokensOf } from "../sequences";

type StateDtype = "f32" | "bf16";

const batches = [1, 8, 64, 256];
/** Values of state in a check: 16 rows of the largest layers. */
const CHECKED_STATE = 2 ** 24;
/** Tokens of one of several sequences in a check: more than two chunks. */
const CHECKED_TOKENS = 600;
/** Values of x in the check of a single sequence, which small layers cut into segments where it is long. */
const CHECKED_VALUES = 2 ** 24;

export const ssdStateUpdateCases: Cases = (geometry) =>
  (["bf16", "f32"] as const).flatMap((stateDtype) =>
    batches.map((rows): KernelCase => {
      const checked = Math.min(rows, Math.ceil(CHECKED_STATE / stateOf(geometry)));
      const nameOf = (count: number) => `${shapeOf(geometry)}, B=${count}, ${stateDtype} state`;
      return {
        op: "ssd_state_update",
        name: nameOf(rows),
        geometry,
        tokens: rows,
        stateDtype,
        bytes: bytesOf(geometry, stateDtype, rows, rows),
        // Each value of state takes the decay, the product of x and B and its addition, the product with C and its sum.
        flops: 5 * rows * stateOf(geometry),
        timed: update(geometry, stateDtype, rows),
        checked: update(geometry, stateDtype, checked),
        checkedName: nameOf(checked),
      };
    }),
  );

/** The state in bf16, as in the engines that it is compared with; its type hardly matters over hundreds of tokens. */
export const ssdChunkScanCases: Cases = (geometry) =>
  [...packings, longPacking].map((packing): KernelCase => {
    const longest = packing.lengths.length > 1 ? CHECKED_TOKENS : Math.ceil(CHECKED_VALUES / innerOf(geometry));
    const short = shortened(packing, longest);
    const nameOf = (name: string) => `${shapeOf(geometry)}, ${name}`;
    return {
      op: "ssd_chunk_scan",
      name: nameOf(packing.name),
      geometry,
      tokens: tokensOf(packing),
      stateDtype: "bf16",
      bytes: bytesOf(geometry, "bf16", tokensOf(packing), packing.lengths.length),
      flops: packing.lengths.reduce((sum, length) => sum + scanFlops(geometry, length), 0),
      timed: scan(geometry, packing),
      checked: scan(geometry, short),
      checkedName: nameOf(short.name),
    };
  });

/** x, out, dt, B and C of each token, the state of each sequence in and out, three parameters of each head. */
function bytesOf(geometry: Geometry, stateDtype: StateDtype, tokens: number, sequences: number): number {
  const { heads, groups, stateSize } = geometry;
  const token = (2 * innerOf(geometry) + heads + 2 * groups * stateSize) * ACTIVATION;
  return tokens * token + 2 * sequences * stateOf(geometry) * sizeOf(stateDtype) + 3 * heads * FLOAT;
}

/**
 * The chunked form with the model's chunks. Of each token: its part of the chunk's state, and what it takes from the state
 * before it. Of each pair of tokens in a chunk, the later one with the earlier and with itself: a product C Bᵀ of each group,
 * and x of each head with that weight.
 */
function scanFlops(geometry: Geometry, length: number): number {
  const { chunkSize, groups, stateSize } = geometry;
  const pairsOf = (tokens: number) => (tokens * (tokens + 1)) / 2;
  const rest = length % chunkSize;
  const pairs = ((length - rest) / chunkSize) * pairsOf(chunkSize) + pairsOf(rest);
  return 4 * length * stateOf(geometry) + 2 * pairs * (groups * stateSize + innerOf(geometry));
}

/** What both forms take, in the mixer's layout: x, B and C are slices of the convolution's rows, dt one of in_proj's. */
function tensors(inputs: Inputs, geometry: Geometry, stateDtype: StateDtype, tokens: number, sequences: number) {
  const { heads, headDim, groups, stateSize } = geometry;
  const inner = innerOf(geometry);
  const convDim = convDimOf(geometry);
  const xbc = inputs.normal("bf16", [tokens, convDim]);
  const projected = inputs.normal("bf16", [tokens, projectedOf(geometry)], 0.5);
  const args: Omit<SsdStateUpdateArgs, "slots" | "z"> = {
    x: inputs.keep(xbc.columns(0, [heads, headDim])),
    b: inputs.keep(xbc.columns(inner, [groups, stateSize])),
    c: inputs.keep(xbc.columns(inner + groups * stateSize, [groups, stateSize])),
    dt: inputs.keep(projected.columns(inner + convDim, [heads])),
    a: inputs.floats(Array.from({ length: heads }, (_, i) => -1 - (15 * i) / heads)),
    d: inputs.normal("f32", [heads]),
    dtBias: inputs.random(recurrentInitial.timeStepBias.law, "f32", [heads]),
    state: inputs.normal(stateDtype, [sequences, heads, headDim, stateSize]),
    out: inputs.output("bf16", [tokens, heads, headDim]),
    dtMin: 0,
    dtMax: Number.POSITIVE_INFINITY,
    dtSoftplus: true,
  };
  return args;
}

function update(geometry: Geometry, stateDtype: StateDtype, rows: number): Build {
  return (inputs) => {
    const args = tensors(inputs, geometry, stateDtype, rows, rows);
    const slots = inputs.words(Array.from({ length: rows }, (_, i) => rows - 1 - i));
    const { out, state } = args;
    return { launch: () => ssdStateUpdate(inputs.stream, { ...args, slots }), outputs: { out, state } };
  };
}

function scan(geometry: Geometry, packing: Packing): Build {
  return (inputs) => {
    const args = tensors(inputs, geometry, "bf16", tokensOf(packing), packing.lengths.length);
    const sequences = packSequences(inputs, packing, geometry.chunkSize);
    const { out, state } = args;
    return { launch: () => ssdChunkScan(inputs.stream, { ...args, ...sequences }), outputs: { out, state } };
  };
}
