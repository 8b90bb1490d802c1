/** What codes of quantized weights mean, and how rows become codes: written from the formats, not from the kernels. */
import type { CodeDtype } from "../../src/tensor/dtype";
import { fromE4m3 } from "./bits";
import type { Rng } from "./rng";

const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

export function meaning(codes: CodeDtype, code: number): number {
  if (codes === "i8") return (code << 24) >> 24;
  if (codes === "e4m3") return fromE4m3(code);
  return codes === "u4" ? code : (code & 8 ? -1 : 1) * e2m1[code & 7]!;
}

export const bitsOf = (codes: CodeDtype): number => (codes === "u4" || codes === "e2m1" ? 4 : 8);

/** A matrix [n, k] of codes, one number for each, with a scale, and for u4 an offset, for each `group` of a row. */
export interface Codes {
  readonly codes: CodeDtype;
  readonly n: number;
  readonly k: number;
  readonly group: number;
  readonly values: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Any codes but NaNs; scales and offsets that bf16 and f16 hold. */
export function randomCodes(rng: Rng, codes: CodeDtype, n: number, k: number, group: number): Codes {
  const below = (count: number) => rng.bits() % count;
  const groups = Math.ceil(k / group);
  const values = Uint8Array.from({ length: n * k }, () => below(2 ** bitsOf(codes)));
  const usual = { i8: 2 ** -13, e4m3: 2 ** -14, u4: 2 ** -9, e2m1: 2 ** -9 }[codes];
  return {
    ...{ codes, n, k, group },
    values: codes === "e4m3" ? values.map((code) => ((code & 0x7f) === 0x7f ? code - 1 : code)) : values,
    scales: Float32Array.from({ length: n * groups }, () => (128 + below(128)) * usual * 2 ** -4),
    offsets: Float32Array.from({ length: codes === "u4" ? n * groups : 0 }, () => (below(256) - 128) * 2 ** -9),
  };
}

export function dequantized({ codes, n, k, group, values, scales, offsets }: Codes): Float32Array {
  const groups = Math.ceil(k / group);
  return Float32Array.from({ length: n * k }, (_, i) => {
    const at = Math.floor(i / k) * groups + Math.floor((i % k) / group);
    return scales[at]! * meaning(codes, values[i]!) + (offsets[at] ?? 0);
  });
}

/** Rows of whole bytes, the first of two codes low. */
export function packedRows({ codes, n, k, values }: Pick<Codes, "codes" | "n" | "k" | "values">): Uint8Array {
  if (bitsOf(codes) === 8) return values;
  const bytes = Math.ceil(k / 2);
  const rows = new Uint8Array(n * bytes);
  for (let i = 0; i < n * k; i++) {
    rows[Math.floor(i / k) * bytes + ((i % k) >> 1)]! |= values[i]! << (4 * ((i % k) & 1));
  }
  return rows;
}

/**
 * The largest that a value may be off by, by the least and the most of its group: half a step of i8, of the range of u4 (whose
 * fit may give the ends up), and of e4m3 at this magnitude.
 */
export function allowance(codes: CodeDtype, value: number, least: number, most: number): number {
  const magnitude = Math.max(-least, most);
  if (codes === "i8") return (magnitude / 127) * 0.51;
  if (codes === "u4") return ((most - least) / 15) * 1.2;
  return Math.max(Math.abs(value) * 2 ** -4, (magnitude / 448) * 2 ** -9) * 1.01 + magnitude * 1e-6;
}
