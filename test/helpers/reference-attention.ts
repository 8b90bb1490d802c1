/** Attention in float64, straight from its definition: the softmax of all scores of a query at once. */

type Values = ArrayLike<number>;

// Jest looks a global up ten times slower than a local, and these loops run a billion times.
const { exp, floor, max } = Math;

export interface Attention {
  readonly queryLen: number;
  readonly kvLen: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly q: Values; // [queryLen, heads, headDim]; query i is at position kvLen - queryLen + i
  readonly k: Values; // [kvLen, kvHeads, headDim]
  readonly v: Values; // [kvLen, kvHeads, headDim]
  readonly scale: number;
  readonly window: number; // 0: none
}

/** One sequence. */
export function attention(p: Attention): Float64Array {
  const { queryLen, kvLen, heads, kvHeads, headDim, scale, window } = p;
  const [q, k, v] = [p.q, p.k, p.v].map((values) => new Float64Array(values)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const out = new Float64Array(queryLen * heads * headDim);
  const scores = new Float64Array(kvLen);
  for (let i = 0; i < queryLen; i++) {
    const position = kvLen - queryLen + i;
    const first = window > 0 ? max(0, position - window + 1) : 0;
    for (let head = 0; head < heads; head++) {
      const at = (i * heads + head) * headDim;
      const kvAt = floor(head / (heads / kvHeads)) * headDim;
      let peak = Number.NEGATIVE_INFINITY;
      for (let key = first; key <= position; key++) {
        const from = key * kvHeads * headDim + kvAt;
        let dot = 0;
        for (let c = 0; c < headDim; c++) dot += q[at + c]! * k[from + c]!;
        scores[key] = dot * scale;
        peak = max(peak, scores[key]!);
      }
      let sum = 0;
      for (let key = first; key <= position; key++) {
        scores[key] = exp(scores[key]! - peak);
        sum += scores[key]!;
      }
      for (let key = first; key <= position; key++) {
        const from = key * kvHeads * headDim + kvAt;
        const weight = scores[key]! / sum;
        for (let c = 0; c < headDim; c++) out[at + c]! += weight * v[from + c]!;
      }
    }
  }
  return out;
}
