import type { CodeDtype } from "../tensor/dtype";
import type { WeightDtype } from "./descriptor";

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** bf16 bits of a float, rounded to nearest even. */
function bf16Bits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** f16 bits of a float; values of dummy weights are far from its limits, so the rounding is to nearest. */
function f16Bits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) return sign | Math.round(Math.abs(value) * 2 ** 24);
  return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13);
}

function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** Values of the codes of e4m3: sign, four bits of exponent (bias 7), three of mantissa; 0x7f is NaN. */
const e4m3 = Float32Array.from({ length: 256 }, (_, code) => {
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  if ((code & 0x7f) === 0x7f) return Number.NaN;
  return exponent === 0 ? sign * mantissa * 2 ** -9 : sign * (8 + mantissa) * 2 ** (exponent - 10);
});

/** Values of codes; those of u4 are multiplied and moved by their group's scale and offset. */
export const codeValues: Readonly<Record<CodeDtype, Float32Array>> = {
  i8: Float32Array.from(Int8Array.from({ length: 256 }, (_, code) => code)),
  e4m3,
  u4: Float32Array.from({ length: 16 }, (_, code) => code),
  e2m1: Float32Array.of(0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6),
};

export function fromE4m3(codes: Uint8Array): Float32Array {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = e4m3[codes[i]!]!;
  return values;
}

/** Values as the raw bits of a type. */
export function toBits(values: Float32Array, dtype: WeightDtype): Float32Array | Uint16Array {
  if (dtype === "f32") return values;
  const bits = new Uint16Array(values.length);
  // Two loops: through a function that is one or the other, or Uint16Array.from, a value takes many times longer.
  if (dtype === "bf16") for (let i = 0; i < bits.length; i++) bits[i] = bf16Bits(values[i]!);
  else for (let i = 0; i < bits.length; i++) bits[i] = f16Bits(values[i]!);
  return bits;
}

/** Raw bits of a type as floats. */
export function fromBits(buffer: ArrayBufferLike, dtype: WeightDtype): Float32Array {
  if (dtype === "f32") return new Float32Array(buffer);
  const bits = new Uint16Array(buffer);
  if (dtype === "f16") return Float32Array.from(bits, f16Value);
  const values = new Float32Array(bits.length);
  const target = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) target[i] = bits[i]! << 16;
  return values;
}
