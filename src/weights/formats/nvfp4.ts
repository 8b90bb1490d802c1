import { wholeMatrix } from "../descriptor";
import { bytesOfPart } from "../part";
import {
  bytesOf,
  expectTensor,
  needTensor,
  readFloats,
  readScalar,
  rejectTensor,
  type StoredTensor,
  type WeightFormat,
} from "./format";

const group = 16;

/**
 * e2m1, two in a byte with the even column low, an e4m3 scale for each 16 of a row and one float for all: weight_scale_2 of
 * ModelOpt multiplies, weight_global_scale of compressed-tensors divides.
 */
export const nvfp4: WeightFormat = (module, [n, k]) => {
  const packed = module.get("weight_packed");
  const weight = packed ?? module.get("weight");
  if (weight?.dtype !== "U8") return null;
  if (k % group !== 0) rejectTensor(weight, `rows of a multiple of ${group}, as NVFP4 has`);
  expectTensor(weight, ["U8"], [n, k / 2]);
  const scale = needTensor(module, "weight_scale", weight);
  expectTensor(scale, ["F8_E4M3"], [n, k / group]);
  const global = needTensor(module, packed === null ? "weight_scale_2" : "weight_global_scale", weight);
  for (const ofActivations of ["input_scale", "input_global_scale"]) module.get(ofActivations);
  return wholeMatrix({
    name: module.weight,
    codes: "e2m1",
    group,
    shape: [n, k],
    bytes: bytesOf([weight, scale, global]),
    read: (read, [begin, end]) => {
      const stored = readScalar(read, global);
      const factor = packed === null ? stored : 1 / stored;
      const ofRows = ({ part }: StoredTensor) => bytesOfPart(part, (begin * part.bytes) / n, (end * part.bytes) / n);
      const scales = readFloats(read, { ...scale, part: ofRows(scale) });
      for (let i = 0; i < scales.length; i++) scales[i]! *= factor;
      return { codes: ofRows(weight), scales, offsets: new Float32Array(0) };
    },
  });
};
