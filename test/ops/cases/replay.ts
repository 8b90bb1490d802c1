/** Decoding with tokens that are taken back, against the plain ops that take one token of each row after the other. */
import { causalConv1dReplay, causalConv1dUpdate } from "../../../src/ops/conv1d";
import { gdnReplay, gdnUpdate } from "../../../src/ops/gdn";
import { ssdReplay, ssdStateUpdate } from "../../../src/ops/ssd";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertSameBits } from "../../helpers/close";
import { Rng } from "../../helpers/rng";
import { packed } from "./causal-conv1d";
import { StatePool } from "./state-pool";

export interface ReplayTypes {
  readonly dtype: FloatDType;
  readonly stateDtype: FloatDType;
}

/** A token's inputs by name. */
type Token = Readonly<Record<string, Float32Array>>;
type Tensors = Readonly<Record<string, Tensor>>;

/** A pair of ops: one takes a token of each row, the other several, of which later ones may be taken back. */
export interface Replayed {
  /** Shapes of a token's inputs, and of its output. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly out: readonly number[];
  /** Shape of a slot's state, and numbers of an entry of its history; 0 where the state is a ring itself. */
  readonly state: readonly number[];
  readonly entry: number;
  plain(backend: Backend, args: Tensors): void;
  replay(backend: Backend, args: Tensors): void;
}

/** `width - 1` inputs are a window. */
export function convolution(dim: number, width: number): Replayed {
  const rng = new Rng(9);
  const [taps, added] = [rng.normal(width * dim, 0, 0.5), rng.normal(dim)];
  const weights = (backend: Backend) => ({
    weight: backend.floats([width, dim], taps),
    bias: backend.floats([dim], added),
    silu: true,
  });
  return {
    ...{ inputs: { x: [dim] }, out: [dim], state: [width - 1, dim], entry: 0 },
    plain: (backend, args) => causalConv1dUpdate(backend.stream, { ...(args as never as Args), ...weights(backend) }),
    replay: (backend, args) => causalConv1dReplay(backend.stream, { ...(args as never as Args), ...weights(backend) }),
  };
}

// Names are put together from a table, so that no type knows them.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Args = any;

export function stateSpace(heads: number, headDim: number, groups: number, stateSize: number, gated = true): Replayed {
  const rng = new Rng(9);
  const [a, d, dtBias] = [rng.uniform(heads, -2, -1), rng.normal(heads), rng.uniform(heads, -4, -3)];
  const weights = (backend: Backend) => ({
    a: backend.floats([heads], a),
    d: backend.floats([heads], d),
    dtBias: backend.floats([heads], dtBias),
    ...{ dtMin: 0, dtMax: 1, dtSoftplus: true },
  });
  return {
    inputs: {
      ...{ x: [heads, headDim], dt: [heads], b: [groups, stateSize], c: [groups, stateSize] },
      ...(gated ? { z: [heads, headDim] } : {}),
    },
    ...{ out: [heads, headDim], state: [heads, headDim, stateSize] },
    entry: heads * headDim + groups * stateSize + heads,
    plain: (backend, args) => ssdStateUpdate(backend.stream, { ...(args as Args), ...weights(backend) }),
    replay: (backend, args) => ssdReplay(backend.stream, { ...(args as Args), ...weights(backend) }),
  };
}

export function deltaRule(keyHeads: number, valueHeads: number, keyDim: number, valueDim: number): Replayed {
  const rng = new Rng(9);
  const [decay, dtBias] = [rng.uniform(valueHeads, -2, -1), rng.uniform(valueHeads, -1, 1)];
  const weights = (backend: Backend) => ({
    decay: backend.floats([valueHeads], decay),
    dtBias: backend.floats([valueHeads], dtBias),
    ...{ eps: 1e-6, scale: 0.5 },
  });
  return {
    inputs: {
      ...{ q: [keyHeads, keyDim], k: [keyHeads, keyDim], v: [valueHeads, valueDim] },
      ...{ a: [valueHeads], b: [valueHeads] },
    },
    ...{ out: [valueHeads, valueDim], state: [valueHeads, valueDim, keyDim] },
    entry: keyHeads * keyDim + valueHeads * (valueDim + 2),
    plain: (backend, args) => gdnUpdate(backend.stream, { ...(args as Args), ...weights(backend) }),
    replay: (backend, args) => gdnReplay(backend.stream, { ...(args as Args), ...weights(backend) }),
  };
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

const SLOTS = 6;
/** The slots of the rows; the second row is padding. */
const slots = [4, -1, 0, 3];
const used = slots.flatMap((slot, row) => (slot < 0 ? [] : [row]));
/** Tokens of a row at most. */
const WINDOW = 3;
const STEPS = 9;

function randomToken({ inputs }: Replayed, dtype: FloatDType, rng: Rng): Token {
  const values = Object.entries(inputs).map(([name, shape]) => [name, rounded(dtype, rng.normal(sizeOf(shape)))]);
  return Object.fromEntries(values);
}

/** Tensors of the inputs of tokens, and one for the output. */
function placed(backend: Backend, op: Replayed, dtype: FloatDType, tokens: readonly Token[]) {
  const inputs = Object.entries(op.inputs).map(([name, shape]) => {
    const values = packed(tokens.map((token) => token[name]!));
    return [name, backend.place(dtype, [tokens.length, ...shape], { values }).tensor] as const;
  });
  const out = backend.place(dtype, [tokens.length, ...op.out], {});
  return { out, args: { out: out.tensor, ...Object.fromEntries(inputs) } };
}

/** Outputs of each row, and the state of each slot after each of them, one token at a time. */
async function plainly(
  backend: Backend,
  op: Replayed,
  { dtype, stateDtype }: ReplayTypes,
  initial: ReadonlyMap<number, Float32Array>,
  sequences: readonly (readonly Token[])[],
) {
  const pool = new StatePool(backend, { slots: SLOTS, slot: op.state, dtype: stateDtype, pad: 0 }, initial);
  const outs: Float32Array[][] = slots.map(() => []);
  const states = [initial];
  for (let t = 0; t < sequences[0]!.length; t++) {
    const tokens = sequences.map((sequence) => sequence[t]!);
    const { out, args } = placed(backend, op, dtype, tokens);
    op.plain(backend, { ...args, state: pool.placed.tensor, slots: backend.integers(slots) });
    const values = (await out.values()) as Float32Array;
    const size = values.length / slots.length;
    for (const [row, list] of outs.entries()) list.push(values.slice(row * size, (row + 1) * size));
    states.push(await pool.read(new Set(initial.keys())));
  }
  return { outs, states };
}

/**
 * Steps of random lengths: the first tokens of a row are right, the others are not and are taken back. What is right must have
 * the bits of the plain op, and so must the state when it is settled.
 */
export async function checkReplay(backend: Backend, op: Replayed, types: ReplayTypes): Promise<void> {
  const { dtype, stateDtype } = types;
  const rng = new Rng(3);
  const initial = new Map(used.map((row) => [slots[row]!, rounded(stateDtype, rng.normal(sizeOf(op.state)))]));
  const most = STEPS * WINDOW + 1;
  const sequences = slots.map(() => Array.from({ length: most }, () => randomToken(op, dtype, rng)));
  const plain = await plainly(backend, op, types, initial, sequences);

  const isRing = op.entry === 0;
  const window = isRing ? op.state[0]! : 0;
  const entries = isRing ? window + WINDOW - 1 : 2 * WINDOW;
  const slot = isRing ? [entries, ...op.state.slice(1)] : op.state;
  const begun = new Map(
    [...initial].map(([number, values]) => {
      const state = new Float32Array(sizeOf(slot)).fill(Number.NaN);
      state.set(values);
      return [number, state];
    }),
  );
  const pool = new StatePool(backend, { slots: SLOTS, slot, dtype: stateDtype, pad: 0 }, begun);
  const width = Math.ceil(op.entry / 8) * 8;
  const history = new StatePool(backend, { slots: SLOTS, slot: [entries, width], dtype, pad: 0 }, new Map());

  const done = slots.map(() => 0);
  const held = slots.map(() => 0);
  for (let step = 0; step <= STEPS; step++) {
    const length = step === STEPS ? 1 : rng.integer(1, WINDOW);
    const right = slots.map(() => rng.integer(1, length));
    const tokens = slots.flatMap((_, row) =>
      Array.from({ length }, (_, t) =>
        t < right[row]! ? sequences[row]![done[row]! + t]! : randomToken(op, dtype, rng),
      ),
    );
    // The last step settles what it holds, for the states to be compared; before that only where the history would be full,
    // and some rows of one token, which cannot be wrong, to their end.
    const settles = held.map((count) => {
      if (step < STEPS && length === 1 && rng.next() < 0.5) return 2;
      return Number(step === STEPS || count + length + WINDOW > entries);
    });
    const rows = slots.flatMap((_, row) => [done[row]!, held[row]!, settles[row]!]);
    const { out, args } = placed(backend, op, dtype, tokens);
    const replay = backend.place("i32", [slots.length, 3], { values: rows }).tensor;
    op.replay(backend, {
      ...{ ...args, replay, slots: backend.integers(slots), state: pool.placed.tensor },
      ...(isRing ? {} : { history: history.placed.tensor }),
    });
    const values = (await out.values()) as Float32Array;
    const size = values.length / tokens.length;
    for (const [row, of] of slots.entries()) {
      for (let t = 0; t < right[row]!; t++) {
        const got = values.slice((row * length + t) * size, (row * length + t + 1) * size);
        const want = of < 0 ? new Float32Array(size) : plain.outs[row]![done[row]! + t]!;
        assertSameBits(`step ${step}, row ${row}, token ${t} of ${length}`, got, want);
      }
      if (settles[row]) held[row] = 0;
      if (step < STEPS) {
        if (settles[row] !== 2) held[row]! += right[row]!;
        done[row]! += right[row]!;
      }
    }
  }
  const after = await pool.read(new Set(initial.keys()));
  await history.read(new Set(initial.keys())); // what nobody has stays as it is
  for (const row of used) {
    const state = after.get(slots[row]!)!;
    const want = plain.states[done[row]!]!.get(slots[row]!)!;
    const size = sizeOf(op.state.slice(1));
    const part = (place: number) => state.slice((place % entries) * size, ((place % entries) + 1) * size);
    const got = isRing ? packed(Array.from({ length: window }, (_, j) => part(done[row]! + j))) : state;
    assertSameBits(`state of row ${row}`, got, want);
  }
}
