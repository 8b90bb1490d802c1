import { sizeOf } from "../tensor/dtype";
import type { WeightDescriptor } from "./descriptor";
import { dummyValues } from "./dummy";
import { fromBits } from "./float-bits";
import type { ReadPart } from "./part";

/** All values, as f32; of dummies as they are drawn. */
export function valuesOf(weight: WeightDescriptor, read: ReadPart): Float32Array {
  const { source, dtype } = weight;
  if ("dummy" in source) return dummyValues(source.dummy, sizeOf(dtype));
  if ("values" in source) return source.values(read);
  const raw = Buffer.concat(source.parts.map(read));
  return fromBits(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength), dtype);
}
