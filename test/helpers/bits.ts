/** Element types as JavaScript sees them: values are numbers, memory is words of 32 or 16 bits. */
import type { DType } from "../../src/tensor/dtype";

export type FloatDType = Extract<DType, "f32" | "bf16" | "f16">;
export type Words = Uint32Array | Uint16Array;

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
export function toBf16(value: number): number {
  const u = bitsOfFloat(value);
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16(bits: number): number {
  return floatOfBits(bits << 16);
}

/** Round to nearest even; NaN stays NaN; from 65520 on infinity. */
export function toF16(value: number): number {
  const u = bitsOfFloat(value);
  const sign = (u >>> 16) & 0x8000;
  const magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) return sign | roundEven(Math.abs(value) * 2 ** 24);
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

export function newWords(dtype: DType, count: number): Words {
  if (dtype === "u8") throw new Error("no op takes u8 elements");
  return dtype === "f32" || dtype === "i32" ? new Uint32Array(count) : new Uint16Array(count);
}

/** The same memory, typed as stream.upload and stream.download want it. */
export function uploadView(dtype: DType, words: Words): Float32Array | Int32Array | Uint16Array {
  if (words instanceof Uint16Array) return words;
  const Typed = dtype === "i32" ? Int32Array : Float32Array;
  return new Typed(words.buffer as ArrayBuffer, words.byteOffset, words.length);
}

/** Memory of values, each rounded to `dtype`. */
export function encode(dtype: DType, values: ArrayLike<number>): Words {
  const words = newWords(dtype, values.length);
  if (dtype === "f32") new Float32Array(words.buffer).set(values);
  else if (dtype === "i32") new Int32Array(words.buffer).set(values);
  else {
    const convert = dtype === "bf16" ? toBf16 : toF16;
    for (let i = 0; i < words.length; i++) words[i] = convert(values[i]!);
  }
  return words;
}

/** Exact: every value of the 16-bit types is a float. For i32 the result is an Int32Array. */
export function decode(dtype: DType, words: Words): Float32Array | Int32Array {
  if (words instanceof Uint32Array) return uploadView(dtype, words) as Float32Array | Int32Array;
  const values = new Float32Array(words.length);
  if (dtype === "bf16") {
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < words.length; i++) bits[i] = words[i]! << 16;
  } else {
    for (let i = 0; i < words.length; i++) values[i] = fromF16(words[i]!);
  }
  return values;
}

/** What a tensor of `dtype` would hold: references must see the same numbers as the kernel. */
export function rounded(dtype: FloatDType, values: Float32Array): Float32Array {
  return dtype === "f32" ? values : (decode(dtype, encode(dtype, values)) as Float32Array);
}
