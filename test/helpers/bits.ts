/** Element types as JavaScript sees them: values are numbers, memory is words of 32 or 16 bits. */
import type { DType } from "../../src/tensor/dtype";

export type FloatDType = Extract<DType, "f32" | "bf16" | "f16">;
export type Words = Uint32Array | Uint16Array | Uint8Array;

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

export function bitsOfFloat(value: number): number {
  scratch[0] = value;
  return scratchBits[0]!;
}

export function floatOfBits(bits: number): number {
  scratchBits[0] = bits;
  return scratch[0]!;
}

/** Round to nearest even; NaN stays NaN. */
export const toBf16 = (value: number): number => bf16OfBits(bitsOfFloat(value));

/** From the bits of a float, as below. */
function bf16OfBits(u: number): number {
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16(bits: number): number {
  return floatOfBits(bits << 16);
}

/** Round to nearest even; NaN stays NaN; from 65520 on infinity. */
export const toF16 = (value: number): number => f16OfBits(bitsOfFloat(value));

function f16OfBits(u: number): number {
  const sign = (u >>> 16) & 0x8000;
  const magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) return sign | roundEven(floatOfBits(magnitude) * 2 ** 24);
  return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13);
}

function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * (1024 + mantissa) * 2 ** (exponent - 25) : sign * mantissa * 2 ** -24;
}

/** Values of the codes 0 to 0x7e of e4m3, four bits of exponent (bias 7) and three of mantissa; 0x7f is NaN. */
const e4m3 = Float32Array.from({ length: 0x7f }, (_, code) => {
  const exponent = code >> 3;
  return exponent > 0 ? (8 + (code & 7)) * 2 ** (exponent - 10) : code * 2 ** -9;
});

/** The nearest code; of two equally near ones the even one; from 448 on the largest. */
export function toE4m3(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  if (Number.isNaN(value)) return sign | 0x7f;
  const magnitude = Math.abs(value);
  if (magnitude === 0) return sign;
  let [above, last] = [0, e4m3.length];
  while (above < last) {
    const middle = (above + last) >> 1;
    if (e4m3[middle]! >= magnitude) last = middle;
    else above = middle + 1;
  }
  if (above === e4m3.length) return sign | 0x7e;
  const [far, near] = [e4m3[above]! - magnitude, magnitude - e4m3[above - 1]!];
  return sign | (far < near || (far === near && above % 2 === 0) ? above : above - 1);
}

export function fromE4m3(code: number): number {
  return (code & 0x80 ? -1 : 1) * (e4m3[code & 0x7f] ?? Number.NaN);
}

export function newWords(dtype: DType, count: number): Words {
  if (dtype === "u8") return new Uint8Array(count);
  return dtype === "f32" || dtype === "i32" ? new Uint32Array(count) : new Uint16Array(count);
}

/** The same memory, typed as stream.upload and stream.download want it. */
export function uploadView(dtype: DType, words: Words): Float32Array | Int32Array | Uint16Array | Uint8Array {
  if (!(words instanceof Uint32Array)) return words;
  const Typed = dtype === "i32" ? Int32Array : Float32Array;
  return new Typed(words.buffer as ArrayBuffer, words.byteOffset, words.length);
}

/** Memory of values, each rounded to `dtype`. */
export function encode(dtype: DType, values: ArrayLike<number>): Words {
  const words = newWords(dtype, values.length);
  if (dtype === "f32") new Float32Array(words.buffer).set(values);
  else if (dtype === "i32") new Int32Array(words.buffer).set(values);
  else if (dtype === "u8") words.set(values);
  else {
    const floats = new Uint32Array(new Float32Array(values).buffer); // their bits
    if (dtype === "bf16") for (let i = 0; i < words.length; i++) words[i] = bf16OfBits(floats[i]!);
    else for (let i = 0; i < words.length; i++) words[i] = f16OfBits(floats[i]!);
  }
  return words;
}

/** The value of each code. */
let f16Values: Float32Array | undefined;

/** Exact: every value of the 16-bit types is a float, and u8 are whole numbers. For i32 the result is an Int32Array. */
export function decode(dtype: DType, words: Words): Float32Array | Int32Array {
  if (words instanceof Uint32Array) return uploadView(dtype, words) as Float32Array | Int32Array;
  const values = new Float32Array(words.length);
  if (dtype === "u8") {
    values.set(words);
  } else if (dtype === "bf16") {
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < words.length; i++) bits[i] = words[i]! << 16;
  } else {
    f16Values ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => fromF16(bits));
    const table = f16Values;
    for (let i = 0; i < words.length; i++) values[i] = table[words[i]!]!;
  }
  return values;
}

/** What a tensor of `dtype` would hold: references must see the same numbers as the kernel. */
export function rounded(dtype: FloatDType, values: Float32Array): Float32Array {
  return dtype === "f32" ? values : (decode(dtype, encode(dtype, values)) as Float32Array);
}
