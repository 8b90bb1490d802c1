/** The gated delta rule in float64, straight from its definition. */
import { sigmoid, softplus } from "./reference";

type Values = ArrayLike<number>;

// Jest looks a global up ten times slower than a local, and these loops run a billion times.
const { exp, floor, sqrt } = Math;

export interface Gdn {
  readonly tokens: number;
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly q: Values; // [tokens, keyHeads, keyDim]
  readonly k: Values; // [tokens, keyHeads, keyDim]
  readonly v: Values; // [tokens, valueHeads, valueDim]
  readonly a: Values; // [tokens, valueHeads]
  readonly b: Values; // [tokens, valueHeads]
  readonly decay: Values; // [valueHeads]
  readonly dtBias: Values; // [valueHeads]
  readonly eps: number;
  readonly scale: number;
}

/** One sequence through the gated delta rule. `state` [valueHeads, valueDim, keyDim] moves on in place. */
export function gatedDeltaRule(p: Gdn, state: Float64Array): Float64Array {
  const { tokens, keyHeads, valueHeads, keyDim, valueDim } = p;
  const normalised = (x: Values, head: number, factor: number) => {
    const row = Float64Array.from({ length: keyDim }, (_, i) => x[head * keyDim + i]!);
    const scale = factor / sqrt(row.reduce((sum, value) => sum + value * value, p.eps));
    return row.map((value) => value * scale);
  };
  const out = new Float64Array(tokens * valueHeads * valueDim);
  for (let t = 0; t < tokens; t++) {
    for (let head = 0; head < valueHeads; head++) {
      const keyHead = t * keyHeads + floor(head / (valueHeads / keyHeads));
      const [q, k] = [normalised(p.q, keyHead, p.scale), normalised(p.k, keyHead, 1)];
      const gate = t * valueHeads + head;
      const keep = exp(p.decay[head]! * softplus(p.a[gate]! + p.dtBias[head]!));
      const write = sigmoid(p.b[gate]!);
      for (let channel = 0; channel < valueDim; channel++) {
        const s = (head * valueDim + channel) * keyDim;
        let found = 0;
        for (let i = 0; i < keyDim; i++) found += keep * state[s + i]! * k[i]!;
        const error = write * (p.v[gate * valueDim + channel]! - found);
        let read = 0;
        for (let i = 0; i < keyDim; i++) {
          const value = keep * state[s + i]! + error * k[i]!;
          state[s + i] = value;
          read += value * q[i]!;
        }
        out[gate * valueDim + channel] = read;
      }
    }
  }
  return out;
}
