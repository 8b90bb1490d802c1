/** What a prefill leaves in a snapshot's slot is what a prefill that ends there leaves in its own. */
import { causalConv1dVarlen } from "../../src/ops/conv1d";
import { gdnChunk } from "../../src/ops/gdn";
import { ssdChunkScan } from "../../src/ops/ssd";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { type FloatDType, rounded } from "../helpers/bits";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";
import { blocksOf, startLocations } from "./cases/causal-conv1d";
import { chunksOf } from "./cases/ssd-chunk-scan";

const CHUNK = 32;
const SLOTS = 8;

interface Row {
  readonly dtype: FloatDType;
  readonly stateDtype: FloatDType;
  /** Channels of a head, and numbers of each of them in the state. */
  readonly headDim: number;
  readonly stateSize: number;
  /** Channels of the convolution. */
  readonly dim: number;
}

const table = cases<Row>({ dtype: "f32", stateDtype: "f32", headDim: 16, stateSize: 32, dim: 64 }, [
  {},
  { dtype: "bf16", headDim: 64, stateSize: 128 },
  { dtype: "bf16", headDim: 64, stateSize: 128, stateDtype: "bf16" },
  { dtype: "f16", headDim: 32, stateSize: 64, stateDtype: "f16" },
  { dtype: "bf16", headDim: 64, stateSize: 256 }, // wider than the fused walk's
  { dtype: "bf16", headDim: 10, stateSize: 24, dim: 37 }, // nothing is aligned
]);

/** Sequences of so many tokens in slots 0, 1, ...; snapshots after some tokens of one of them, into slots. */
interface Step {
  readonly lengths: readonly number[];
  readonly snapshots: readonly { readonly sequence: number; readonly position: number; readonly slot: number }[];
}

const whole: Step = {
  lengths: [100, 64, 7],
  snapshots: [
    { sequence: 0, position: 32, slot: 7 },
    { sequence: 0, position: 96, slot: 4 },
    { sequence: 1, position: 64, slot: 5 }, // where its row ends
    { sequence: 1, position: 32, slot: -1 },
  ],
};

/** The first tokens of each sequence, from one table of random numbers. */
function tokensOf({ lengths }: Step, width: number, dtype: FloatDType, seed: number): Float32Array {
  const all = lengths.map((_, s) => rounded(dtype, new Rng(seed + s).normal(128 * width, 0, 0.5)));
  return Float32Array.from(lengths.flatMap((length, s) => [...all[s]!.subarray(0, length * width)]));
}

const indicesOf = ({ lengths }: Step) => ({
  starts: startLocations(lengths),
  slots: lengths.map((_, s) => s),
  fresh: lengths.map(() => 0),
});

async function conv(backend: Backend, row: Row, step: Step) {
  const { dtype, stateDtype, dim } = row;
  const { starts, slots, fresh } = indicesOf(step);
  const tokens = starts.at(-1)!;
  const blocks = blocksOf(step.lengths, 64);
  const state = backend.place(stateDtype, [SLOTS, 3, dim], { values: new Float32Array(SLOTS * 3 * dim).fill(7) });
  causalConv1dVarlen(backend.stream, {
    out: backend.place(dtype, [tokens, dim]).tensor,
    x: backend.place(dtype, [tokens, dim], { values: tokensOf(step, dim, dtype, 0) }).tensor,
    state: state.tensor,
    weight: backend.floats([4, dim], new Rng(9).normal(4 * dim)),
    queryStartLoc: backend.integers(starts),
    slots: backend.integers(slots),
    hasInitialState: backend.integers(fresh),
    blockSeq: backend.integers(blocks.seq),
    blockOffset: backend.integers(blocks.offset),
    blockSize: 64,
    silu: true,
    snapshotEnds: backend.integers(step.snapshots.map(({ sequence, position }) => starts[sequence]! + position)),
    snapshotSlots: backend.integers(step.snapshots.map(({ slot }) => slot)),
  });
  return { words: await state.words(), slotSize: 3 * dim };
}

/** The chunks of a step, and the slots of snapshots after them. */
function chunkIndices(backend: Backend, step: Step) {
  const { starts } = indicesOf(step);
  const { cuChunkSeqlens, chunkSeq, lastChunk } = chunksOf(step.lengths, CHUNK);
  const chunkSlots = cuChunkSeqlens.slice(1).map((end, chunk) => {
    const position = end - starts[chunkSeq[chunk]!]!;
    const taken = step.snapshots.find((each) => each.sequence === chunkSeq[chunk] && each.position === position);
    return taken?.slot ?? -1;
  });
  return {
    cuChunkSeqlens: backend.integers(cuChunkSeqlens),
    chunkSeq: backend.integers(chunkSeq),
    lastChunk: backend.integers(lastChunk),
    chunkSlots: backend.integers(chunkSlots),
  };
}

async function delta(backend: Backend, row: Row, step: Step) {
  const { dtype, stateDtype, headDim: valueDim, stateSize: keyDim } = row;
  const valueHeads = 4;
  const { starts, slots, fresh } = indicesOf(step);
  const tokens = starts.at(-1)!;
  const size = valueHeads * valueDim * keyDim;
  const state = backend.place(stateDtype, [SLOTS, valueHeads, valueDim, keyDim], {
    values: new Float32Array(SLOTS * size).fill(7),
  });
  const x = (type: FloatDType, shape: readonly number[], seed: number) => {
    const values = tokensOf(
      step,
      shape.reduce((a, b) => a * b, 1),
      type,
      seed,
    );
    return backend.place(type, [tokens, ...shape], { values }).tensor;
  };
  gdnChunk(backend.stream, {
    out: backend.place(dtype, [tokens, valueHeads, valueDim]).tensor,
    q: x(dtype, [2, keyDim], 0),
    k: x(dtype, [2, keyDim], 10),
    v: x(dtype, [valueHeads, valueDim], 20),
    a: x("f32", [valueHeads], 30),
    b: x("f32", [valueHeads], 40),
    decay: backend.floats([valueHeads], [-1, -0.5, -0.1, -2]),
    dtBias: backend.floats([valueHeads], [0, 0, 0, 0]),
    state: state.tensor,
    queryStartLoc: backend.integers(starts),
    slots: backend.integers(slots),
    hasInitialState: backend.integers(fresh),
    ...chunkIndices(backend, step),
    eps: 1e-6,
    scale: keyDim ** -0.5,
  });
  return { words: await state.words(), slotSize: size };
}

async function scan(backend: Backend, row: Row, step: Step) {
  const { dtype, stateDtype, headDim, stateSize } = row;
  const heads = 2;
  const { starts, slots, fresh } = indicesOf(step);
  const tokens = starts.at(-1)!;
  const size = heads * headDim * stateSize;
  const state = backend.place(stateDtype, [SLOTS, heads, headDim, stateSize], {
    values: new Float32Array(SLOTS * size).fill(7),
  });
  const x = (width: readonly number[], seed: number) =>
    backend.place(dtype, [tokens, ...width], { values: tokensOf(step, width[0]! * width[1]!, dtype, seed) }).tensor;
  ssdChunkScan(backend.stream, {
    out: backend.place(dtype, [tokens, heads, headDim]).tensor,
    x: x([heads, headDim], 0),
    dt: backend.place("f32", [tokens, heads], { values: tokensOf(step, heads, "f32", 10) }).tensor,
    a: backend.floats([heads], [-1, -0.5]),
    b: x([1, stateSize], 20),
    c: x([1, stateSize], 30),
    state: state.tensor,
    queryStartLoc: backend.integers(starts),
    slots: backend.integers(slots),
    hasInitialState: backend.integers(fresh),
    ...chunkIndices(backend, step),
    dtMin: 0,
    dtMax: Number.POSITIVE_INFINITY,
    dtSoftplus: true,
  });
  return { words: await state.words(), slotSize: size };
}

describeEachBackend((backend) => {
  describe.each([
    ["causalConv1dVarlen", conv],
    ["ssdChunkScan", scan],
    ["gdnChunk", delta],
  ] as const)("%s", (_, run) => {
    test.each(table)("$name", async ({ row }) => {
      const { words, slotSize } = await run(backend, row, whole);
      const slot = (from: typeof words, i: number) => from.slice(i * slotSize, (i + 1) * slotSize);
      for (const { sequence, position, slot: at } of whole.snapshots) {
        if (at < 0) continue;
        const lengths = whole.lengths.map((length, s) => (s === sequence ? position : length));
        const cut = await run(backend, row, { lengths, snapshots: [] });
        assertSameBits(`${sequence} at ${position}`, slot(words, at), slot(cut.words, sequence));
      }
      const untouched = await run(backend, row, { ...whole, snapshots: [] });
      for (const i of [0, 1, 2, 3, 6]) assertSameBits(`slot ${i}`, slot(words, i), slot(untouched.words, i));
    });
  });
});
