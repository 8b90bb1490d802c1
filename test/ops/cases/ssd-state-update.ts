/** Runs one case of the state update against the recurrence, over one or more steps in place on the same slots. */
import { ssdStateUpdate } from "../../../src/ops/ssd";
import type { Backend } from "../../helpers/backends";
import { decode, encode, type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, assertSameBits, type Tolerance, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { packed } from "./causal-conv1d";
import { chooseSlots, StatePool } from "./state-pool";

/** A parameter per head, per channel (Mamba-1), or per channel in shape but with stride 0 over channels and states. */
export type Granularity = "head" | "channel" | "expanded";

export interface UpdateRow {
  readonly rows: number;
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly stateSize: number;
  readonly dtype: FloatDType; // of x, b, c, z and out
  readonly dtDtype: FloatDType;
  readonly stateDtype: FloatDType;
  readonly per: Granularity; // of a and dt
  readonly skipPer: Granularity | null; // of d and dtBias; null = as a and dt
  readonly d: boolean;
  readonly dtBias: boolean;
  readonly z: boolean;
  readonly dtSoftplus: boolean;
  readonly dtMin: number;
  readonly dtMax: number;
  readonly dtRange: readonly [number, number] | null; // raw dt uniform in it; null = normal
  readonly aScale: number; // a is -aScale (1 + u), u in [0, 1)
  readonly xPad: number; // elements between rows of x, b, c, z and dt
  readonly outPad: number;
  readonly statePad: number; // elements between slots
  readonly shift: number; // elements that x, b, c, z and out start off their alignment
  readonly padding: readonly number[]; // rows without a slot
  readonly slotsInPool: number;
  readonly lengths: readonly number[] | null; // tokens of each row, one call per token; a finished row gets slot -1
  readonly tolerance?: Tolerance;
}

export const stateUpdateBase: UpdateRow = {
  rows: 3,
  heads: 4,
  headDim: 32,
  groups: 1,
  stateSize: 32,
  dtype: "f32",
  dtDtype: "f32",
  stateDtype: "f32",
  per: "head",
  skipPer: null,
  d: true,
  dtBias: true,
  z: false,
  dtSoftplus: true,
  dtMin: 0,
  dtMax: Number.POSITIVE_INFINITY,
  dtRange: null,
  aScale: 1,
  xPad: 0,
  outPad: 0,
  statePad: 0,
  shift: 0,
  padding: [],
  slotsInPool: 10,
  lengths: null,
};

interface Step {
  readonly x: Float32Array; // [rows, heads, headDim]
  readonly z: Float32Array | null;
  readonly dt: Float32Array; // [rows, heads] or [rows, heads, headDim]
  readonly b: Float32Array; // [rows, groups, stateSize]
  readonly c: Float32Array;
  readonly slots: readonly number[];
}

interface Parameters {
  readonly a: Float32Array; // [heads] or [heads, headDim, stateSize]
  readonly d: Float32Array | null; // [heads] or [heads, headDim]
  readonly dtBias: Float32Array | null;
}

function makeStep(row: UpdateRow, rng: Rng, slots: readonly number[]): Step {
  const { rows, heads, headDim, groups, stateSize, dtype } = row;
  const dtCount = rows * heads * (row.per === "channel" ? headDim : 1);
  const dt = row.dtRange ? rng.uniform(dtCount, ...row.dtRange) : rng.normal(dtCount);
  return {
    x: rounded(dtype, rng.normal(rows * heads * headDim)),
    z: row.z ? rounded(dtype, rng.normal(rows * heads * headDim)) : null,
    dt: rounded(row.dtDtype, row.dtSoftplus || row.dtRange ? dt : dt.map(Math.abs)),
    b: rounded(dtype, rng.normal(rows * groups * stateSize)),
    c: rounded(dtype, rng.normal(rows * groups * stateSize)),
    slots,
  };
}

const skipPer = (row: UpdateRow): Granularity => row.skipPer ?? row.per;

function makeParameters(row: UpdateRow, rng: Rng): Parameters {
  const { heads, headDim, stateSize } = row;
  const aCount = row.per === "channel" ? heads * headDim * stateSize : heads;
  const skipCount = skipPer(row) === "channel" ? heads * headDim : heads;
  return {
    a: rng.uniform(aCount, -2, -1).map((a) => row.aScale * a),
    d: row.d ? rng.normal(skipCount) : null,
    dtBias: row.dtBias ? rng.uniform(skipCount, -4, -3) : null,
  };
}

/** A parameter's tensor, in the shape and strides that `per` names. */
function placeParameter(backend: Backend, row: UpdateRow, values: Float32Array, withState: boolean) {
  const { heads, headDim, stateSize } = row;
  const inner = withState ? [headDim, stateSize] : [headDim];
  const per = withState ? row.per : skipPer(row);
  if (per === "channel") return backend.floats([heads, ...inner], values);
  const placed = backend.place("f32", [heads], { values });
  return per === "head" ? placed.tensor : placed.view([heads, ...inner], [1, ...inner.map(() => 0)]);
}

function launchStep(backend: Backend, row: UpdateRow, p: Parameters, step: Step, state: StatePool) {
  const { rows, heads, headDim, groups, stateSize, dtype, xPad, shift } = row;
  const place = (values: Float32Array, shape: readonly number[]) =>
    backend.place(dtype, [rows, ...shape], { values, rowPad: xPad, shift });
  const inputs = {
    x: place(step.x, [heads, headDim]),
    b: place(step.b, [groups, stateSize]),
    c: place(step.c, [groups, stateSize]),
    ...(step.z && { z: place(step.z, [heads, headDim]) }),
    dt: backend.place(row.dtDtype, row.per === "channel" ? [rows, heads, headDim] : [rows, heads], {
      values: step.dt,
      rowPad: xPad,
    }),
  };
  const out = backend.place(dtype, [rows, heads, headDim], { rowPad: row.outPad, shift });
  ssdStateUpdate(backend.stream, {
    out: out.tensor,
    x: inputs.x.tensor,
    dt: row.per === "expanded" ? inputs.dt.view([rows, heads, headDim], [heads + xPad, 1, 0]) : inputs.dt.tensor,
    a: placeParameter(backend, row, p.a, true),
    b: inputs.b.tensor,
    c: inputs.c.tensor,
    ...(p.d && { d: placeParameter(backend, row, p.d, false) }),
    ...(p.dtBias && { dtBias: placeParameter(backend, row, p.dtBias, false) }),
    ...(inputs.z && { z: inputs.z.tensor }),
    state: state.placed.tensor,
    slots: backend.integers(step.slots),
    dtMin: row.dtMin,
    dtMax: row.dtMax,
    dtSoftplus: row.dtSoftplus,
  });
  return { out, inputs: Object.values(inputs) };
}

/** Outputs and states of all rows after one token each. `states` moves on in place. */
function referenceStep(row: UpdateRow, p: Parameters, step: Step, states: ReadonlyMap<number, Float64Array>) {
  const width = row.heads * row.headDim;
  const want = new Float64Array(row.rows * width);
  const part = (values: Float32Array, r: number) => {
    const size = values.length / row.rows;
    return values.subarray(r * size, (r + 1) * size);
  };
  step.slots.forEach((slot, r) => {
    if (slot < 0) return;
    const y = reference.ssdRecurrence(
      {
        ...row,
        ...p,
        tokens: 1,
        x: part(step.x, r),
        dt: part(step.dt, r),
        b: part(step.b, r),
        c: part(step.c, r),
        z: step.z && part(step.z, r),
      },
      states.get(slot)!,
    );
    want.set(y, r * width);
  });
  return want;
}

/** The first step's inputs, what all steps share, and the states before. */
export function updateInputs(row: UpdateRow, rng = new Rng(0)) {
  const slots = chooseSlots(rng, row.rows, row.slotsInPool, row.padding);
  const parameters = makeParameters(row, rng);
  const size = row.heads * row.headDim * row.stateSize;
  const used = slots.filter((slot) => slot >= 0);
  const initial = new Map(used.map((slot) => [slot, rounded(row.stateDtype, rng.normal(size))]));
  return { parameters, initial, step: makeStep(row, rng, slots) };
}

export type UpdateInputs = ReturnType<typeof updateInputs>;

function placeStates(backend: Backend, row: UpdateRow, initial: UpdateInputs["initial"]): StatePool {
  const slot = [row.heads, row.headDim, row.stateSize];
  return new StatePool(backend, { slots: row.slotsInPool, slot, dtype: row.stateDtype, pad: row.statePad }, initial);
}

const rowsOf = <T extends Float32Array>(values: T, rows: number): Float32Array[] => {
  const size = values.length / rows;
  return Array.from({ length: rows }, (_, r) => values.slice(r * size, (r + 1) * size));
};

export function permuteRows(step: Step, order: readonly number[]): Step {
  const permute = (values: Float32Array) => {
    const rows = rowsOf(values, order.length);
    return packed(order.map((from) => rows[from]!));
  };
  const { x, z, dt, b, c, slots } = step;
  return {
    ...{ x: permute(x), z: z && permute(z), dt: permute(dt), b: permute(b), c: permute(c) },
    slots: order.map((from) => slots[from]!),
  };
}

/** One step, without comparison: the output of each row and the state of each used slot. */
export async function launchUpdate(backend: Backend, row: UpdateRow, { parameters, initial, step }: UpdateInputs) {
  const state = placeStates(backend, row, initial);
  const { out } = launchStep(backend, row, parameters, step, state);
  const outs = rowsOf((await out.values()) as Float32Array, row.rows);
  return { outs, states: await state.read(new Set(initial.keys())) };
}

export async function checkStateUpdate(backend: Backend, row: UpdateRow): Promise<void> {
  const { rows, heads, headDim, stateSize, stateDtype } = row;
  const rng = new Rng(0);
  const { parameters, initial, step: firstStep } = updateInputs(row, rng);
  const { slots } = firstStep;
  const state = placeStates(backend, row, initial);
  const expected = new Map([...initial].map(([slot, values]) => [slot, Float64Array.from(values)]));
  const lengths = row.lengths ?? slots.map(() => 1);
  for (let t = 0; t < Math.max(...lengths); t++) {
    const running = slots.map((slot, r) => (t < lengths[r]! ? slot : -1));
    const step = t === 0 ? firstStep : makeStep(row, rng, running);
    const { out, inputs } = launchStep(backend, row, parameters, step, state);
    const want = referenceStep(row, parameters, step, expected);
    const y = (await out.values()) as Float32Array;
    for (const input of inputs) await input.assertUnchanged("an input");
    // From the second step on a 16-bit state may have been rounded the other way.
    const tolerance = row.tolerance ?? (t > 0 ? toleranceOf(row.dtype, stateDtype) : toleranceOf(row.dtype));
    assertClose(`out of step ${t}`, [rows, heads, headDim], y, want, tolerance);
    step.slots.forEach((slot, r) => {
      const width = heads * headDim;
      const line = y.slice(r * width, (r + 1) * width);
      if (slot < 0) assertSameBits(`out of padding row ${r}`, line, new Float32Array(width));
    });
    // The pool keeps rounded states, and the next step starts from them.
    for (const values of expected.values()) values.set(decode(stateDtype, encode(stateDtype, values)));
  }
  const after = await state.read(new Set(initial.keys()));
  const tolerance = row.tolerance ?? toleranceOf(row.dtype, stateDtype);
  for (const [slot, values] of expected) {
    assertClose(`state of slot ${slot}`, [heads, headDim, stateSize], after.get(slot)!, values, tolerance);
  }
}
