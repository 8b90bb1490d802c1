/** Runs one case of the chunked scan against the token-by-token recurrence. */
import { ssdChunkScan } from "../../../src/ops/ssd";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, assertSameBits, type Tolerance, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { type DecideInitial, packed, startLocations } from "./causal-conv1d";
import { chooseSlots, StatePool } from "./state-pool";

export interface ScanRow {
  readonly lengths: readonly number[]; // tokens of each sequence
  readonly initial: DecideInitial;
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly stateSize: number;
  readonly chunk: number; // tokens
  readonly dtype: FloatDType; // of x, b, c and out
  readonly dtDtype: FloatDType;
  readonly stateDtype: FloatDType;
  readonly d: boolean;
  readonly dtBias: boolean;
  readonly dtSoftplus: boolean;
  readonly dtMin: number;
  readonly dtMax: number;
  readonly dt: "normal" | "zero" | "threshold" | "huge" | "mixed"; // raw values: see dtValues
  readonly aScale: number; // a is -aScale e^u, u in [0, 1)
  readonly wide: boolean; // x, b and c are slices of one row [x | b | c | pad], as the convolution leaves them
  readonly xPad: number; // elements after each row of x, b, c (or of the wide row) and dt
  readonly outPad: number;
  readonly statePad: number; // elements between slots
  readonly shift: number; // elements that x and out start off their alignment
  readonly padding: readonly number[]; // sequences without a slot
  readonly slotsInPool: number;
  readonly checkedHeads: readonly number[] | null; // compare these only; null = all
  readonly tolerance?: Tolerance;
}

export const scanBase: ScanRow = {
  lengths: [40, 7, 65],
  initial: "some",
  heads: 4,
  headDim: 32,
  groups: 1,
  stateSize: 32,
  chunk: 32,
  dtype: "f32",
  dtDtype: "f32",
  stateDtype: "f32",
  d: true,
  dtBias: true,
  dtSoftplus: true,
  dtMin: 0,
  dtMax: Number.POSITIVE_INFINITY,
  dt: "normal",
  aScale: 1,
  wide: false,
  xPad: 0,
  outPad: 0,
  statePad: 0,
  shift: 0,
  padding: [],
  slotsInPool: 8,
  checkedHeads: null,
};

export interface ScanSequence {
  readonly length: number; // tokens
  readonly x: Float32Array; // [length, heads, headDim]
  readonly dt: Float32Array; // [length, heads]
  readonly b: Float32Array; // [length, groups, stateSize]
  readonly c: Float32Array;
  readonly initial: Float32Array | null; // [heads, headDim, stateSize]; null = none: its slot is full of NaNs
  readonly slot: number;
}

export interface ScanInputs {
  readonly row: ScanRow;
  readonly a: Float32Array; // [heads]
  readonly d: Float32Array | null;
  readonly dtBias: Float32Array | null;
  readonly sequences: readonly ScanSequence[];
}

export interface ScanResult {
  readonly out: Float32Array; // [length, heads, headDim]
  readonly state: Float32Array | null; // null = no slot, or no token
}

function dtValues(row: ScanRow, count: number, rng: Rng): Float32Array {
  switch (row.dt) {
    case "normal":
      return rng.normal(count, row.dtSoftplus ? 0 : -4).map((x) => (row.dtSoftplus ? x : reference.softplus(x)));
    case "zero": // softplus(-30) is 1e-13
      return new Float32Array(count).fill(row.dtSoftplus ? -30 : 0);
    case "threshold": // both sides of softplus' threshold
      return Float32Array.from({ length: count }, (_, i) => [19.5, 19.999, 20, 20.001, 20.5][i % 5]!);
    case "huge": // e^dt overflows
      return rng.uniform(count, 50, 200);
    case "mixed": // a step of 1000 every now and then, among steps of softplus(-4) = 0.02
      return Float32Array.from({ length: count }, () => (rng.next() < 0.1 ? 1000 : -4));
  }
}

export function scanInputs(row: ScanRow, rng = new Rng(0)): ScanInputs {
  const { heads, headDim, groups, stateSize, dtype } = row;
  const slots = chooseSlots(rng, row.lengths.length, row.slotsInPool, row.padding);
  return {
    row,
    a: rng.uniform(heads).map((u) => -row.aScale * Math.exp(u)),
    d: row.d ? rng.normal(heads) : null,
    dtBias: row.dtBias ? rng.uniform(heads, -4, -3) : null,
    sequences: row.lengths.map((length, i) => {
      const withState = row.initial === "all" || (row.initial === "some" && i % 2 === 0);
      return {
        length,
        x: rounded(dtype, rng.normal(length * heads * headDim)),
        dt: rounded(row.dtDtype, dtValues(row, length * heads, rng)),
        b: rounded(dtype, rng.normal(length * groups * stateSize, 0, 1)),
        c: rounded(dtype, rng.normal(length * groups * stateSize, 0, 1)),
        initial: withState ? rounded(row.stateDtype, rng.normal(heads * headDim * stateSize)) : null,
        slot: slots[i]!,
      };
    }),
  };
}

/** Chunks of at most `size` tokens, aligned to each sequence's own start. */
export function chunksOf(lengths: readonly number[], size: number) {
  const ends = [0];
  const seq: number[] = [];
  const last: number[] = []; // an empty sequence repeats its predecessor's (or -1)
  let start = 0;
  lengths.forEach((length, s) => {
    for (let at = 0; at < length; at += size) {
      ends.push(start + Math.min(at + size, length));
      seq.push(s);
    }
    start += length;
    last.push(seq.length - 1);
  });
  return { cuChunkSeqlens: ends, chunkSeq: seq, lastChunk: last };
}

/** x, b and c on the device: apart, or as slices of one wider row. */
function placeTokens(backend: Backend, { row, sequences }: ScanInputs, tokens: number) {
  const { heads, headDim, groups, stateSize, dtype, shift } = row;
  const shapes = { x: [heads, headDim], b: [groups, stateSize], c: [groups, stateSize] };
  const values = {
    x: packed(sequences.map((s) => s.x)),
    b: packed(sequences.map((s) => s.b)),
    c: packed(sequences.map((s) => s.c)),
  };
  if (!row.wide) {
    const place = (name: "x" | "b" | "c") =>
      backend.place(dtype, [tokens, ...shapes[name]], { values: values[name], rowPad: row.xPad, shift });
    const placed = { x: place("x"), b: place("b"), c: place("c") };
    return { x: placed.x.tensor, b: placed.b.tensor, c: placed.c.tensor, buffers: Object.values(placed) };
  }
  const xSize = heads * headDim;
  const bSize = groups * stateSize;
  const width = xSize + 2 * bSize;
  const rows = new Float32Array(tokens * width);
  for (let t = 0; t < tokens; t++) {
    rows.set(values.x.subarray(t * xSize, (t + 1) * xSize), t * width);
    rows.set(values.b.subarray(t * bSize, (t + 1) * bSize), t * width + xSize);
    rows.set(values.c.subarray(t * bSize, (t + 1) * bSize), t * width + xSize + bSize);
  }
  const buffer = backend.place(dtype, [tokens, width], { values: rows, rowPad: row.xPad, shift });
  const [x, b, c] = [
    buffer.columns(0, shapes.x),
    buffer.columns(xSize, shapes.b),
    buffer.columns(xSize + bSize, shapes.c),
  ];
  return { x: x!, b: b!, c: c!, buffers: [buffer] };
}

export async function launchScan(backend: Backend, inputs: ScanInputs): Promise<ScanResult[]> {
  const { row, sequences } = inputs;
  const { heads, headDim, stateSize } = row;
  const lengths = sequences.map((s) => s.length);
  const starts = startLocations(lengths);
  const tokens = starts.at(-1)!;
  const { x, b, c, buffers } = placeTokens(backend, inputs, tokens);
  const dt = backend.place(row.dtDtype, [tokens, heads], {
    values: packed(sequences.map((s) => s.dt)),
    rowPad: row.xPad,
  });
  const out = backend.place(row.dtype, [tokens, heads, headDim], { rowPad: row.outPad, shift: row.shift });
  const contents = new Map(sequences.filter((s) => s.slot >= 0 && s.initial).map((s) => [s.slot, s.initial!]));
  const slot = [heads, headDim, stateSize];
  const pool = { slots: row.slotsInPool, slot, dtype: row.stateDtype, pad: row.statePad };
  const state = new StatePool(backend, pool, contents);
  const chunks = chunksOf(lengths, row.chunk);
  ssdChunkScan(backend.stream, {
    out: out.tensor,
    x,
    dt: dt.tensor,
    a: backend.floats([heads], inputs.a),
    b,
    c,
    ...(inputs.d && { d: backend.floats([heads], inputs.d) }),
    ...(inputs.dtBias && { dtBias: backend.floats([heads], inputs.dtBias) }),
    state: state.placed.tensor,
    queryStartLoc: backend.integers(starts),
    slots: backend.integers(sequences.map((s) => s.slot)),
    hasInitialState: backend.integers(sequences.map((s) => Number(s.initial !== null))),
    cuChunkSeqlens: backend.integers(chunks.cuChunkSeqlens),
    chunkSeq: backend.integers(chunks.chunkSeq),
    lastChunk: backend.integers(chunks.lastChunk),
    dtMin: row.dtMin,
    dtMax: row.dtMax,
    dtSoftplus: row.dtSoftplus,
  });
  const y = (await out.values()) as Float32Array;
  for (const buffer of [...buffers, dt]) await buffer.assertUnchanged("an input");
  const states = await state.read(new Set(sequences.filter((s) => s.length > 0).map((s) => s.slot)));
  const width = heads * headDim;
  return sequences.map((s, i) => ({
    out: y.slice(starts[i]! * width, starts[i + 1]! * width),
    state: states.get(s.slot) ?? null,
  }));
}

/** Columns of the given heads of values [rows, heads, size]. */
function ofHeads(values: Float32Array, heads: number, size: number, chosen: readonly number[]): Float32Array {
  if (chosen.length === heads) return values;
  const rows = values.length / (heads * size);
  const parts: Float32Array[] = [];
  for (let r = 0; r < rows; r++) {
    for (const head of chosen) parts.push(values.subarray((r * heads + head) * size, (r * heads + head + 1) * size));
  }
  return packed(parts);
}

export function compareScan(inputs: ScanInputs, results: readonly ScanResult[]): void {
  const { row, sequences } = inputs;
  const { heads, headDim, groups, stateSize } = row;
  const chosen = row.checkedHeads ?? Array.from({ length: heads }, (_, i) => i);
  // A subset of heads is an op of its own: each takes the B and C of its group.
  const subset = chosen.length < heads;
  const groupOf = chosen.map((head) => Math.floor(head / (heads / groups)));
  const pick = (values: Float32Array, size: number) => ofHeads(values, heads, size, chosen);
  const pickGroup = (values: Float32Array) => (subset ? ofHeads(values, groups, stateSize, groupOf) : values);
  sequences.forEach((s, i) => {
    const { length } = s;
    const { out, state } = results[i]!;
    if (s.slot < 0) {
      assertSameBits(`out of padding sequence ${i}`, out, new Float32Array(length * heads * headDim));
      return;
    }
    const end = Float64Array.from(
      s.initial ? pick(s.initial, headDim * stateSize) : new Float32Array(chosen.length * headDim * stateSize),
    );
    const want = reference.ssdRecurrence(
      {
        ...row,
        tokens: length,
        heads: chosen.length,
        groups: subset ? chosen.length : groups,
        x: pick(s.x, headDim),
        dt: pick(s.dt, 1),
        b: pickGroup(s.b),
        c: pickGroup(s.c),
        z: null,
        a: pick(inputs.a, 1),
        d: inputs.d && pick(inputs.d, 1),
        dtBias: inputs.dtBias && pick(inputs.dtBias, 1),
      },
      end,
    );
    const tolerance = row.tolerance ?? toleranceOf(row.dtype);
    assertClose(`out of sequence ${i}`, [length, chosen.length, headDim], pick(out, headDim), want, tolerance);
    if (length === 0) return;
    const stateTolerance = row.tolerance ?? toleranceOf(row.dtype, row.stateDtype);
    const shape = [chosen.length, headDim, stateSize];
    assertClose(`state of sequence ${i}`, shape, pick(state!, headDim * stateSize), end, stateTolerance);
  });
}

export async function checkScan(backend: Backend, row: ScanRow): Promise<void> {
  const inputs = scanInputs(row);
  compareScan(inputs, await launchScan(backend, inputs));
}
