import { sizeOf } from "../../src/tensor/dtype";
import { isQuantized, type MatrixDescriptor } from "../../src/weights/descriptor";
import { dummyValues } from "../../src/weights/dummy";
import { fromBits, toBits } from "../../src/weights/float-bits";
import { readQuantized } from "../../src/weights/quantized-rows";
import { readPart } from "../../src/weights/read-part";
import { dequantized } from "../helpers/codes";

/** What a descriptor stands for, row-major. */
export function valuesOf(weight: MatrixDescriptor): Float32Array {
  if (!isQuantized(weight)) {
    if ("values" in weight.source) return weight.source.values(readPart);
    if ("dummy" in weight.source) {
      const bits = toBits(dummyValues(weight.source.dummy, sizeOf(weight.dtype)), weight.dtype);
      return fromBits(bits.buffer, weight.dtype);
    }
    const raw = Uint8Array.from(Buffer.concat(weight.source.parts.map(readPart)));
    return fromBits(raw.buffer, weight.dtype);
  }
  const { codes, group, shape } = weight;
  const k = shape.at(-1)!;
  const n = shape.reduce((product, size) => product * size) / k;
  const { codes: source, scales, offsets } = readQuantized(weight);
  const raw = ArrayBuffer.isView(source) ? source : Buffer.concat(source.map(readPart));
  const wide = codes === "i8" || codes === "e4m3";
  const rowBytes = wide ? k : Math.ceil(k / 2);
  const values = Uint8Array.from({ length: n * k }, (_, i) => {
    const [row, at] = [Math.floor(i / k), i % k];
    return wide ? raw[i]! : (raw[row * rowBytes + (at >> 1)]! >> (4 * (at & 1))) & 15;
  });
  return dequantized({ codes, n, k, group, values, scales, offsets });
}
