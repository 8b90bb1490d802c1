/** Runs one sequence through the chunked scan and then, token by token, through the state update. */
import { ssdStateUpdate } from "../../../src/ops/ssd";
import type { Backend } from "../../helpers/backends";
import type { FloatDType } from "../../helpers/bits";
import type { Tolerance } from "../../helpers/close";
import { packed } from "./causal-conv1d";
import { compareScan, launchScan, type ScanInputs, scanBase, scanInputs } from "./ssd-chunk-scan";
import { StatePool } from "./state-pool";

export interface PrefillDecodeRow {
  readonly prefill: number; // tokens
  readonly decode: number; // tokens
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly stateSize: number;
  readonly chunk: number; // tokens
  readonly dtype: FloatDType;
  readonly stateDtype: FloatDType;
  readonly tolerance: Tolerance; // of outputs and the last state
}

/** Tokens [begin, end) of the only sequence. */
function part(inputs: ScanInputs, begin: number, end: number) {
  const [sequence] = inputs.sequences as [ScanInputs["sequences"][number]];
  const cut = (values: Float32Array) => {
    const size = values.length / sequence.length;
    return values.subarray(begin * size, end * size);
  };
  const { x, dt, b, c } = sequence;
  return { ...sequence, length: end - begin, x: cut(x), dt: cut(dt), b: cut(b), c: cut(c) };
}

export async function checkPrefillDecode(backend: Backend, row: PrefillDecodeRow): Promise<void> {
  const { prefill, decode, heads, headDim, groups, stateSize, dtype, stateDtype } = row;
  const total = prefill + decode;
  const whole = scanInputs({ ...scanBase, ...row, lengths: [total], initial: "none" });
  const [first] = await launchScan(backend, { ...whole, sequences: [part(whole, 0, prefill)] });
  const slot = 3;
  const slots = backend.integers([slot]);
  const pool = { slots: 5, slot: [heads, headDim, stateSize], dtype: stateDtype, pad: 0 };
  const state = new StatePool(backend, pool, new Map([[slot, first!.state!]]));
  const parameters = {
    a: backend.floats([heads], whole.a),
    ...(whole.d && { d: backend.floats([heads], whole.d) }),
    ...(whole.dtBias && { dtBias: backend.floats([heads], whole.dtBias) }),
    dtMin: 0,
    dtMax: Number.POSITIVE_INFINITY,
    dtSoftplus: true,
  };
  const outs = [first!.out];
  for (let t = prefill; t < total; t++) {
    const { x, dt, b, c } = part(whole, t, t + 1);
    const place = (shape: readonly number[], values: Float32Array) => backend.place(dtype, [1, ...shape], { values });
    const out = backend.place(dtype, [1, heads, headDim]);
    ssdStateUpdate(backend.stream, {
      ...parameters,
      out: out.tensor,
      x: place([heads, headDim], x).tensor,
      dt: backend.floats([1, heads], dt),
      b: place([groups, stateSize], b).tensor,
      c: place([groups, stateSize], c).tensor,
      state: state.placed.tensor,
      slots,
    });
    outs.push((await out.values()) as Float32Array);
  }
  const end = (await state.read(new Set([slot]))).get(slot)!;
  compareScan(whole, [{ out: packed(outs), state: end }]);
}
