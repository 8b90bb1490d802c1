/** Runs one case of the causal convolution against the reference. Both forms see the same kind of sequences. */
import { causalConv1dUpdate, causalConv1dVarlen } from "../../../src/ops/conv1d";
import type { Backend } from "../../helpers/backends";
import { decode, encode, type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, assertSameBits, type Tolerance, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { chooseSlots, StatePool } from "./state-pool";

export type DecideInitial = "all" | "none" | "some";

interface ConvShape {
  readonly dim: number;
  readonly width: number;
  readonly dtype: FloatDType; // of x and out
  readonly stateDtype: FloatDType;
  readonly silu: boolean;
  readonly bias: boolean;
  readonly slotsInPool: number;
  readonly xPad: number; // elements from one row of x to the next, beyond dim
  readonly outPad: number;
  readonly statePad: number; // elements between slots
  readonly shift: number; // elements that x and out start off their alignment
  readonly padding: readonly number[]; // rows or sequences without a slot
  readonly tolerance?: Tolerance;
}

export interface ConvUpdateRow extends ConvShape {
  readonly rows: number;
  readonly inPlace: boolean; // out is x
}

export interface ConvVarlenRow extends ConvShape {
  readonly lengths: readonly number[]; // tokens of each sequence
  readonly initial: DecideInitial;
  readonly blockSize: number; // tokens
}

export const convUpdateBase: ConvUpdateRow = {
  rows: 3,
  dim: 72,
  width: 4,
  dtype: "f32",
  stateDtype: "f32",
  silu: true,
  bias: true,
  slotsInPool: 10,
  xPad: 0,
  outPad: 0,
  statePad: 0,
  shift: 0,
  padding: [],
  inPlace: false,
};

export const convVarlenBase: ConvVarlenRow = {
  lengths: [9, 1, 17, 4],
  initial: "some",
  dim: 72,
  width: 4,
  dtype: "f32",
  stateDtype: "f32",
  silu: true,
  bias: true,
  slotsInPool: 10,
  xPad: 0,
  outPad: 0,
  statePad: 0,
  shift: 0,
  padding: [],
  blockSize: 8,
};

export interface ConvSequence {
  readonly length: number; // tokens
  readonly x: Float32Array; // [length, dim], already rounded to dtype
  readonly history: Float32Array | null; // [width - 1, dim]; null = no initial state: its slot is full of NaNs
  readonly slot: number;
}

export interface ConvInputs {
  readonly shape: ConvShape;
  readonly weight: Float32Array; // [width, dim]
  readonly bias: Float32Array | null;
  readonly sequences: readonly ConvSequence[];
}

export interface ConvResult {
  readonly out: Float32Array; // [length, dim]
  readonly state: Float32Array | null; // [width - 1, dim]; null = no slot, or no token
}

export function convInputs(
  shape: ConvShape,
  lengths: readonly number[],
  initial: DecideInitial,
  rng = new Rng(0),
): ConvInputs {
  const { dim, width } = shape;
  const slots = chooseSlots(rng, lengths.length, shape.slotsInPool, shape.padding);
  return {
    shape,
    weight: rng.normal(width * dim, 0, 0.5),
    bias: shape.bias ? rng.normal(dim) : null,
    sequences: lengths.map((length, i) => {
      const withState = initial === "all" || (initial === "some" && i % 2 === 0);
      const x = rounded(shape.dtype, rng.normal(length * dim));
      const history = withState ? rounded(shape.stateDtype, rng.normal((width - 1) * dim)) : null;
      return { length, x, history, slot: slots[i]! };
    }),
  };
}

export function packed(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** [0, l0, l0 + l1, ...]. */
export function startLocations(lengths: readonly number[]): number[] {
  const starts = [0];
  for (const length of lengths) starts.push(starts.at(-1)! + length);
  return starts;
}

/** One entry for each blockSize tokens of each sequence. */
export function blocksOf(lengths: readonly number[], blockSize: number): { seq: number[]; offset: number[] } {
  const seq: number[] = [];
  const offset: number[] = [];
  lengths.forEach((length, s) => {
    for (let block = 0; block * blockSize < length; block++) {
      seq.push(s);
      offset.push(block);
    }
  });
  return { seq, offset };
}

type Form =
  | { readonly kind: "update"; readonly inPlace: boolean }
  | { readonly kind: "varlen"; readonly blockSize: number };

export async function launchConv(backend: Backend, inputs: ConvInputs, form: Form): Promise<ConvResult[]> {
  const { shape, sequences } = inputs;
  const { dim, width, dtype, shift, silu } = shape;
  const lengths = sequences.map((s) => s.length);
  const starts = startLocations(lengths);
  const tokens = starts.at(-1)!;
  const values = packed(sequences.map((s) => s.x));
  const x = backend.place(dtype, [tokens, dim], { values, rowPad: shape.xPad, shift });
  const inPlace = form.kind === "update" && form.inPlace;
  const out = inPlace ? x : backend.place(dtype, [tokens, dim], { rowPad: shape.outPad, shift });
  const contents = new Map(sequences.filter((s) => s.slot >= 0 && s.history).map((s) => [s.slot, s.history!]));
  const pool = { slots: shape.slotsInPool, slot: [width - 1, dim], dtype: shape.stateDtype, pad: shape.statePad };
  const state = new StatePool(backend, pool, contents);
  const slots = sequences.map((s) => s.slot);
  const common = {
    out: out.tensor,
    x: x.tensor,
    state: state.placed.tensor,
    weight: backend.floats([width, dim], inputs.weight),
    ...(inputs.bias && { bias: backend.floats([dim], inputs.bias) }),
    slots: backend.integers(slots),
    silu,
  };
  if (form.kind === "update") {
    causalConv1dUpdate(backend.stream, common);
  } else {
    const blocks = blocksOf(lengths, form.blockSize);
    causalConv1dVarlen(backend.stream, {
      ...common,
      queryStartLoc: backend.integers(starts),
      hasInitialState: backend.integers(sequences.map((s) => Number(s.history !== null))),
      blockSeq: backend.integers(blocks.seq),
      blockOffset: backend.integers(blocks.offset),
      blockSize: form.blockSize,
    });
  }
  const y = (await out.values()) as Float32Array;
  if (!inPlace) await x.assertUnchanged("x");
  const states = await state.read(new Set(sequences.filter((s) => s.length > 0).map((s) => s.slot)));
  return sequences.map((s, i) => ({
    out: y.slice(starts[i]! * dim, starts[i + 1]! * dim),
    state: states.get(s.slot) ?? null,
  }));
}

/** Outputs within the tolerance; states exactly equal, for they are copies of inputs. */
export function compareConv(inputs: ConvInputs, results: readonly ConvResult[]): void {
  const { shape, weight, bias } = inputs;
  const { dim, width } = shape;
  inputs.sequences.forEach(({ length, x, history, slot }, i) => {
    const { out, state } = results[i]!;
    if (slot < 0) {
      assertSameBits(`out of padding row ${i}`, out, new Float32Array(length * dim));
      return;
    }
    const want = reference.causalConv1d({ tokens: length, dim, width, x, history, weight, bias, silu: shape.silu });
    assertClose(`out of row ${i}`, [length, dim], out, want.out, shape.tolerance ?? toleranceOf(shape.dtype));
    if (length === 0) return;
    const window = decode(shape.stateDtype, encode(shape.stateDtype, want.window));
    assertSameBits(`state of row ${i}`, state!, window);
  });
}

export async function checkConvUpdate(backend: Backend, row: ConvUpdateRow): Promise<void> {
  const inputs = convInputs(row, new Array(row.rows).fill(1), "all");
  compareConv(inputs, await launchConv(backend, inputs, { kind: "update", inPlace: row.inPlace }));
}

export async function checkConvVarlen(backend: Backend, row: ConvVarlenRow): Promise<void> {
  const inputs = convInputs(row, row.lengths, row.initial);
  compareConv(inputs, await launchConv(backend, inputs, { kind: "varlen", blockSize: row.blockSize }));
}
