/** Runs one case of the gated delta rule, as prefill or as decode, against the token-by-token recurrence. */
import { gdnChunk, gdnUpdate } from "../../../src/ops/gdn";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, assertSameBits, type Tolerance, toleranceOf } from "../../helpers/close";
import { gatedDeltaRule } from "../../helpers/gated-delta-rule";
import { Rng } from "../../helpers/rng";
import { type DecideInitial, packed, startLocations } from "./causal-conv1d";
import { chunksOf } from "./ssd-chunk-scan";
import { chooseSlots, StatePool } from "./state-pool";

export interface GdnRow {
  readonly lengths: readonly number[]; // tokens of each sequence; of a decode, all the same
  readonly initial: DecideInitial; // of a prefill
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly chunk: number; // tokens, of a prefill
  readonly dtype: FloatDType;
  readonly gateDtype: FloatDType;
  readonly stateDtype: FloatDType;
  readonly keep: "normal" | "all" | "none" | "mixed"; // how much of the state stays: see keepGates
  readonly write: "normal" | "all" | "none"; // sigmoid(b) is anything, 1 or 0
  readonly keys: "normal" | "repeated" | "opposite" | "zero" | "tiny" | "huge"; // see keyValues
  readonly scale: number;
  readonly wide: boolean; // q, k and v are slices of one row [q | k | v | pad], as the convolution leaves them
  readonly xPad: number; // elements after each row of q, k, v (or of the wide row), a and b
  readonly outPad: number;
  readonly statePad: number; // elements between slots
  readonly shift: number; // elements that q, k, v and out start off their alignment
  readonly padding: readonly number[]; // sequences without a slot
  readonly slotsInPool: number;
}

/** The scale of 1 keeps outputs about as large as the values. */
export const gdnBase: GdnRow = {
  lengths: [40, 7, 65],
  initial: "some",
  keyHeads: 2,
  valueHeads: 4,
  keyDim: 32,
  valueDim: 32,
  chunk: 32,
  dtype: "f32",
  gateDtype: "f32",
  stateDtype: "f32",
  keep: "normal",
  write: "normal",
  keys: "normal",
  scale: 1,
  wide: false,
  xPad: 0,
  outPad: 0,
  statePad: 0,
  shift: 0,
  padding: [],
  slotsInPool: 8,
};

export const eps = 1e-6;

interface Tokens {
  readonly length: number;
  readonly q: Float32Array; // [length, keyHeads, keyDim]
  readonly k: Float32Array;
  readonly v: Float32Array; // [length, valueHeads, valueDim]
  readonly a: Float32Array; // [length, valueHeads]
  readonly b: Float32Array;
}

export interface GdnSequence extends Tokens {
  readonly initial: Float32Array | null; // [valueHeads, valueDim, keyDim]; null = none: its slot is full of NaNs
  readonly slot: number;
}

export interface GdnInputs {
  readonly row: GdnRow;
  readonly decay: Float32Array; // [valueHeads]
  readonly dtBias: Float32Array;
  readonly sequences: readonly GdnSequence[];
}

export interface GdnResult {
  readonly out: Float32Array; // [length, valueHeads, valueDim]
  readonly state: Float32Array | null; // null = no slot, or no token
}

function keepGates(row: GdnRow, count: number, rng: Rng): Float32Array {
  switch (row.keep) {
    case "normal":
      return rng.normal(count, -3);
    case "all": // softplus(-30) is 1e-13
      return new Float32Array(count).fill(-30);
    case "none": // e^a overflows
      return rng.uniform(count, 50, 200);
    case "mixed": // everything is forgotten now and then
      return Float32Array.from({ length: count }, () => (rng.next() < 0.1 ? 1000 : -6));
  }
}

/** Keys may have any length, because they are normalised; "tiny" ones are of the size of eps. */
function keyValues(row: GdnRow, length: number, rng: Rng): Float32Array {
  const size = row.keyHeads * row.keyDim;
  const keys = rng.normal(length * size);
  if (row.keys === "normal") return keys;
  const factors = { zero: 0, tiny: 1e-4, huge: 1e4, repeated: 1, opposite: 1 };
  return keys.map((_, i) => {
    const sign = row.keys === "opposite" && Math.floor(i / size) % 2 === 1 ? -1 : 1;
    const repeats = row.keys === "repeated" || row.keys === "opposite";
    return sign * factors[row.keys as keyof typeof factors] * keys[repeats ? i % size : i]!;
  });
}

export function gdnInputs(row: GdnRow, rng = new Rng(0)): GdnInputs {
  const { keyHeads, valueHeads, keyDim, valueDim, dtype, gateDtype } = row;
  const slots = chooseSlots(rng, row.lengths.length, row.slotsInPool, row.padding);
  const writes = { normal: () => rng.normal(1)[0]!, all: () => 40, none: () => -100 };
  return {
    row,
    decay: rng.uniform(valueHeads).map((u) => -Math.exp(2 * u)),
    dtBias: rng.uniform(valueHeads, -1, 1),
    sequences: row.lengths.map((length, i) => {
      const withState = row.initial === "all" || (row.initial === "some" && i % 2 === 0);
      const gates = length * valueHeads;
      return {
        length,
        q: rounded(dtype, rng.normal(length * keyHeads * keyDim)),
        k: rounded(dtype, keyValues(row, length, rng)),
        v: rounded(dtype, rng.normal(gates * valueDim)),
        a: rounded(gateDtype, keepGates(row, gates, rng)),
        b: rounded(gateDtype, Float32Array.from({ length: gates }, writes[row.write])),
        initial: withState ? rounded(row.stateDtype, rng.normal(valueHeads * valueDim * keyDim)) : null,
        slot: slots[i]!,
      };
    }),
  };
}

/** Tokens [begin, end) of a sequence, which start from the given state. */
export function gdnPart(sequence: GdnSequence, begin: number, end: number, initial: Float32Array | null): GdnSequence {
  const cut = (values: Float32Array) => {
    const size = values.length / sequence.length;
    return values.subarray(begin * size, end * size);
  };
  const { q, k, v, a, b, slot } = sequence;
  return { length: end - begin, q: cut(q), k: cut(k), v: cut(v), a: cut(a), b: cut(b), initial, slot };
}

/** q, k and v on the device: apart, or as slices of one wider row. */
function placeTokens(backend: Backend, { row, sequences }: GdnInputs, tokens: number) {
  const { keyHeads, valueHeads, keyDim, valueDim, dtype, shift } = row;
  const names = ["q", "k", "v"] as const;
  const shapes = { q: [keyHeads, keyDim], k: [keyHeads, keyDim], v: [valueHeads, valueDim] };
  const values = (name: "q" | "k" | "v") => packed(sequences.map((s) => s[name]));
  if (!row.wide) {
    const placed = names.map((name) =>
      backend.place(dtype, [tokens, ...shapes[name]], { values: values(name), rowPad: row.xPad, shift }),
    );
    return { views: placed.map(({ tensor }) => tensor), buffers: placed };
  }
  const sizes = names.map((name) => shapes[name][0]! * shapes[name][1]!);
  const starts = startLocations(sizes);
  const rows = new Float32Array(tokens * starts[3]!);
  for (const [i, name] of names.entries()) {
    const from = values(name);
    for (let t = 0; t < tokens; t++) {
      rows.set(from.subarray(t * sizes[i]!, (t + 1) * sizes[i]!), t * starts[3]! + starts[i]!);
    }
  }
  const buffer = backend.place(dtype, [tokens, starts[3]!], { values: rows, rowPad: row.xPad, shift });
  return { views: names.map((name, i) => buffer.columns(starts[i]!, shapes[name])), buffers: [buffer] };
}

/** Launches one op on all sequences at once, and reads what it left. */
async function launch(
  backend: Backend,
  inputs: GdnInputs,
  op: (args: Parameters<typeof gdnUpdate>[1], starts: readonly number[]) => void,
): Promise<GdnResult[]> {
  const { row, sequences } = inputs;
  const { valueHeads, valueDim, keyDim } = row;
  const starts = startLocations(sequences.map((s) => s.length));
  const tokens = starts.at(-1)!;
  const { views, buffers } = placeTokens(backend, inputs, tokens);
  const [q, k, v] = views as [Tensor, Tensor, Tensor];
  const gate = (name: "a" | "b") =>
    backend.place(row.gateDtype, [tokens, valueHeads], {
      values: packed(sequences.map((s) => s[name])),
      rowPad: row.xPad,
    });
  const [a, b] = [gate("a"), gate("b")];
  const out = backend.place(row.dtype, [tokens, valueHeads, valueDim], { rowPad: row.outPad, shift: row.shift });
  const contents = new Map(sequences.filter((s) => s.slot >= 0 && s.initial).map((s) => [s.slot, s.initial!]));
  const slot = [valueHeads, valueDim, keyDim];
  const pool = { slots: row.slotsInPool, slot, dtype: row.stateDtype, pad: row.statePad };
  const state = new StatePool(backend, pool, contents);
  op(
    {
      ...{ out: out.tensor, q, k, v, a: a.tensor, b: b.tensor, state: state.placed.tensor, eps, scale: row.scale },
      decay: backend.floats([valueHeads], inputs.decay),
      dtBias: backend.floats([valueHeads], inputs.dtBias),
      slots: backend.integers(sequences.map((s) => s.slot)),
    },
    starts,
  );
  const y = (await out.values()) as Float32Array;
  for (const buffer of [...buffers, a, b]) await buffer.assertUnchanged("an input");
  const states = await state.read(new Set(sequences.filter((s) => s.length > 0).map((s) => s.slot)));
  const width = valueHeads * valueDim;
  return sequences.map((s, i) => ({
    out: y.slice(starts[i]! * width, starts[i + 1]! * width),
    state: states.get(s.slot) ?? null,
  }));
}

export function launchChunk(backend: Backend, inputs: GdnInputs): Promise<GdnResult[]> {
  const { row, sequences } = inputs;
  return launch(backend, inputs, (args, starts) => {
    const chunks = chunksOf(
      sequences.map((s) => s.length),
      row.chunk,
    );
    gdnChunk(backend.stream, {
      ...args,
      queryStartLoc: backend.integers(starts),
      hasInitialState: backend.integers(sequences.map((s) => Number(s.initial !== null))),
      cuChunkSeqlens: backend.integers(chunks.cuChunkSeqlens),
      chunkSeq: backend.integers(chunks.chunkSeq),
      lastChunk: backend.integers(chunks.lastChunk),
    });
  });
}

export const launchUpdate = (backend: Backend, inputs: GdnInputs): Promise<GdnResult[]> =>
  launch(backend, inputs, (args) => gdnUpdate(backend.stream, args));

export const gdnTolerance = ({ dtype, stateDtype }: GdnRow): Tolerance => toleranceOf(dtype, stateDtype);

/** Every sequence against the recurrence in float64; a padding sequence must have zeros. */
export function compareGdn(inputs: GdnInputs, results: readonly GdnResult[]): void {
  const { row, decay, dtBias } = inputs;
  const { valueHeads, valueDim, keyDim, scale } = row;
  const tolerance = gdnTolerance(row);
  inputs.sequences.forEach((sequence, s) => {
    const { out, state } = results[s]!;
    const shape = [sequence.length, valueHeads, valueDim];
    if (sequence.slot < 0) {
      assertSameBits(`sequence ${s}: out`, out, new Float32Array(out.length));
      return;
    }
    const want = Float64Array.from(sequence.initial ?? new Float32Array(valueHeads * valueDim * keyDim));
    const y = gatedDeltaRule({ ...row, ...sequence, tokens: sequence.length, decay, dtBias, eps, scale }, want);
    assertClose(`sequence ${s}: out`, shape, out, y, tolerance);
    if (sequence.length > 0)
      assertClose(`sequence ${s}: state`, [valueHeads, valueDim, keyDim], state!, want, tolerance);
  });
}

export async function checkChunk(backend: Backend, row: GdnRow): Promise<void> {
  const inputs = gdnInputs(row);
  compareGdn(inputs, await launchChunk(backend, inputs));
}

export async function checkUpdate(backend: Backend, row: GdnRow): Promise<void> {
  const inputs = gdnInputs({ ...row, initial: "all" });
  compareGdn(inputs, await launchUpdate(backend, inputs));
}
