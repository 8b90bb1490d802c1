import { gdnChunk, gdnUpdate } from "../../ops/gdn";
import { sizeOf } from "../../tensor/dtype";
import type { DeltaLayer } from "../geometries";
import type { Inputs } from "../inputs";
import { ACTIVATION, type Build, type CasesOf, FLOAT, type KernelCase } from "../kernel-case";
import { type Packing, packings, packSequences, shortened, tokensOf } from "../sequences";

type StateDtype = "f32" | "bf16";

const batches = [1, 8, 64, 256, 1024];
const longPacking: Packing = { name: "1x65536", lengths: [65_536] };
/** Values of state, and tokens of a sequence, in a check. */
const CHECKED_STATE = 4 << 20;
const CHECKED_TOKENS = 200;

export const gdnUpdateCases: CasesOf<DeltaLayer> = (layer) =>
  (["bf16", "f32"] as const).flatMap((stateDtype) =>
    batches.map((rows): KernelCase => {
      const checked = Math.min(rows, Math.ceil(CHECKED_STATE / stateOf(layer)));
      const nameOf = (count: number) => `${shapeOf(layer)}, B=${count}, ${stateDtype} state`;
      return {
        op: "gdn_update",
        name: nameOf(rows),
        geometry: layer,
        tokens: rows,
        stateDtype,
        bytes: bytesOf(layer, stateDtype, rows, rows),
        flops: flopsOf(layer, rows),
        timed: update(layer, stateDtype, rows),
        checked: update(layer, stateDtype, checked),
        checkedName: nameOf(checked),
      };
    }),
  );

export const gdnChunkCases: CasesOf<DeltaLayer> = (layer) =>
  [...packings, longPacking].map((packing): KernelCase => {
    const short = shortened(packing, CHECKED_TOKENS);
    const nameOf = (name: string) => `${shapeOf(layer)}, ${name}`;
    return {
      op: "gdn_chunk",
      name: nameOf(packing.name),
      geometry: layer,
      tokens: tokensOf(packing),
      stateDtype: "f32",
      bytes: bytesOf(layer, "f32", tokensOf(packing), packing.lengths.length),
      flops: flopsOf(layer, tokensOf(packing)),
      timed: chunk(layer, packing),
      checked: chunk(layer, short),
      checkedName: nameOf(short.name),
    };
  });

const stateOf = ({ valueHeads, keyDim, valueDim }: DeltaLayer) => valueHeads * keyDim * valueDim;
const shapeOf = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaLayer) =>
  `${keyHeads}/${valueHeads} heads, K=${keyDim} V=${valueDim}`;

/** q, k, v, a, b and out of each token, the state of each sequence in and out, two parameters of each head. */
function bytesOf(layer: DeltaLayer, stateDtype: StateDtype, tokens: number, sequences: number): number {
  const { keyHeads, valueHeads, keyDim, valueDim } = layer;
  const token = 2 * keyHeads * keyDim + 2 * valueHeads * valueDim + 2 * valueHeads;
  const states = 2 * sequences * stateOf(layer) * sizeOf(stateDtype);
  return tokens * token * ACTIVATION + states + 2 * valueHeads * FLOAT;
}

/** The recurrence: the state with the key, what is added to it, the state with the query. */
const flopsOf = (layer: DeltaLayer, tokens: number) => 6 * tokens * stateOf(layer);

/** What both forms take, in the layer's layout: q, k and v are slices of the convolution's rows. */
function tensors(inputs: Inputs, layer: DeltaLayer, stateDtype: StateDtype, tokens: number, sequences: number) {
  const { keyHeads, valueHeads, keyDim, valueDim } = layer;
  const keys = keyHeads * keyDim;
  const rows = inputs.normal("bf16", [tokens, 2 * keys + valueHeads * valueDim]);
  const gates = inputs.normal("bf16", [tokens, 2 * valueHeads]);
  return {
    q: inputs.keep(rows.columns(0, [keyHeads, keyDim])),
    k: inputs.keep(rows.columns(keys, [keyHeads, keyDim])),
    v: inputs.keep(rows.columns(2 * keys, [valueHeads, valueDim])),
    a: inputs.keep(gates.columns(0, [valueHeads])),
    b: inputs.keep(gates.columns(valueHeads, [valueHeads])),
    decay: inputs.floats(Array.from({ length: valueHeads }, (_, i) => -0.05 - (8 * i) / valueHeads)),
    dtBias: inputs.normal("f32", [valueHeads]),
    state: inputs.normal(stateDtype, [sequences, valueHeads, valueDim, keyDim]),
    out: inputs.output("bf16", [tokens, valueHeads, valueDim]),
    eps: 1e-6,
    scale: keyDim ** -0.5,
  };
}

function update(layer: DeltaLayer, stateDtype: StateDtype, rows: number): Build {
  return (inputs) => {
    const args = tensors(inputs, layer, stateDtype, rows, rows);
    const slots = inputs.words(Array.from({ length: rows }, (_, i) => rows - 1 - i));
    const { out, state } = args;
    return { launch: () => gdnUpdate(inputs.stream, { ...args, slots }), outputs: { out, state } };
  };
}

function chunk(layer: DeltaLayer, packing: Packing): Build {
  return (inputs) => {
    const args = tensors(inputs, layer, "f32", tokensOf(packing), packing.lengths.length);
    const sequences = packSequences(inputs, packing, layer.chunkSize);
    const { out, state } = args;
    return { launch: () => gdnChunk(inputs.stream, { ...args, ...sequences }), outputs: { out, state } };
  };
}
