/** Rows as ggml's quantized types store them, by the simplest choice of scales; and the values that they then stand for. */
import { fromF16, toF16 } from "./bits";

export interface Quantized {
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

type Quantizer = (values: Float32Array) => Quantized;

const clamp = (value: number, least: number, most: number) => Math.min(Math.max(Math.round(value), least), most);
const half = (value: number) => fromF16(toF16(value));

/** Applies `block` to each part of `elements` values, which fills its bytes and gives what they stand for. */
function blocks(
  elements: number,
  bytes: number,
  block: (values: Float32Array, out: Buffer) => (i: number) => number,
): Quantizer {
  return (values) => {
    const raw = Buffer.alloc((values.length / elements) * bytes);
    const meant = new Float32Array(values.length);
    for (let at = 0, b = 0; at < values.length; at += elements, b++) {
      const meaning = block(values.subarray(at, at + elements), raw.subarray(b * bytes, (b + 1) * bytes));
      for (let i = 0; i < elements; i++) meant[at + i] = meaning(i);
    }
    return { bytes: raw, values: meant };
  };
}

const largest = (values: Float32Array) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const q8_0 = blocks(32, 34, (values, out) => {
  const d = half(largest(values) / 127);
  out.writeUInt16LE(toF16(d));
  values.forEach((value, i) => {
    out.writeInt8(clamp(value / d, -127, 127), 2 + i);
  });
  return (i) => d * out.readInt8(2 + i);
});

const q5_0 = blocks(32, 22, (values, out) => {
  const d = half(largest(values) / 15);
  out.writeUInt16LE(toF16(d));
  const codes = Array.from(values, (value) => clamp(value / d, -16, 15) + 16);
  let high = 0;
  codes.forEach((code, i) => {
    high |= (code >> 4) << i;
    out[6 + (i & 15)]! |= (code & 15) << (4 * (i >> 4));
  });
  out.writeUInt32LE(high >>> 0, 2);
  return (i) => d * (codes[i]! - 16);
});

/** d and dmin are the largest scale and offset over 63; each group has its share of both. */
const q4_k = blocks(256, 144, (values, out) => {
  const groups = Array.from({ length: 8 }, (_, g) => {
    const group = values.subarray(32 * g, 32 * g + 32);
    const least = Math.min(0, ...group);
    return { scale: (Math.max(...group) - least) / 15, offset: -least };
  });
  const d = half(Math.max(...groups.map(({ scale }) => scale)) / 63);
  const min = half(Math.max(...groups.map(({ offset }) => offset)) / 63);
  out.writeUInt16LE(toF16(d));
  out.writeUInt16LE(toF16(min), 2);
  const scales = groups.map(({ scale }) => clamp(scale / d, 1, 63));
  const mins = groups.map(({ offset }) => clamp(offset / min, 0, 63));
  for (let g = 0; g < 4; g++) {
    out[4 + g] = scales[g]! | ((scales[g + 4]! >> 4) << 6);
    out[8 + g] = mins[g]! | ((mins[g + 4]! >> 4) << 6);
    out[12 + g] = (scales[g + 4]! & 15) | ((mins[g + 4]! & 15) << 4);
  }
  const codes = Array.from(values, (value, i) => {
    const g = i >> 5;
    return clamp((value + min * mins[g]!) / (d * scales[g]!), 0, 15);
  });
  codes.forEach((code, i) => {
    out[16 + 32 * (i >> 6) + (i & 31)]! |= code << (4 * ((i >> 5) & 1));
  });
  return (i) => d * scales[i >> 5]! * codes[i]! - min * mins[i >> 5]!;
});

const q6_k = blocks(256, 210, (values, out) => {
  const groups = Array.from({ length: 16 }, (_, g) => largest(values.subarray(16 * g, 16 * g + 16)) / 31);
  const d = half(Math.max(...groups) / 127);
  out.writeUInt16LE(toF16(d), 208);
  const scales = groups.map((scale) => clamp(scale / d, 1, 127));
  scales.forEach((scale, g) => {
    out.writeInt8(scale, 192 + g);
  });
  const codes = Array.from(values, (value, i) => clamp(value / (d * scales[i >> 4]!), -32, 31) + 32);
  codes.forEach((code, i) => {
    const [part, quarter, lane] = [i >> 7, (i >> 5) & 3, i & 31];
    out[64 * part + lane + 32 * (quarter & 1)]! |= (code & 15) << (4 * (quarter >> 1));
    out[128 + 32 * part + lane]! |= (code >> 4) << (2 * quarter);
  });
  return (i) => d * scales[i >> 4]! * (codes[i]! - 32);
});

export const quantizers = { Q8_0: q8_0, Q5_0: q5_0, Q4_K: q4_k, Q6_K: q6_k } as const;

export type QuantizedType = keyof typeof quantizers;
