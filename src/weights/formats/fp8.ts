import { elementsOf } from "../../tensor/shape";
import { wholeMatrix } from "../descriptor";
import { bytesOfPart } from "../part";
import {
  bytesOf,
  expectTensor,
  readFloats,
  rejectTensor,
  type StoredTensor,
  scaleTypes,
  type WeightFormat,
} from "./format";

/**
 * e4m3 with scales that multiply: one of the tensor (ModelOpt), one of each row (compressed-tensors), or one of each block
 * (Qwen, DeepSeek: weight_scale_inv). Where it has a scale of its inputs, or the settings say so, these are
 * meant to be rounded as well; they get scales of their own.
 */
export const fp8: WeightFormat = (module, [n, k], settings) => {
  const weight = module.get("weight");
  if (weight?.dtype !== "F8_E4M3") return null;
  expectTensor(weight, ["F8_E4M3"], [n, k]);
  const scale = module.get("weight_scale_inv") ?? module.get("weight_scale");
  if (scale === null) return rejectTensor(weight, "weight_scale or weight_scale_inv beside it");
  const quantizeX = module.get("input_scale") !== null || settings.fp8Inputs;
  const [rows, columns] = blockOf(scale, [n, k], settings.fp8Block);
  const groups = Math.ceil(k / columns);
  return wholeMatrix({
    name: module.weight,
    codes: "e4m3",
    group: columns,
    shape: [n, k],
    bytes: bytesOf([weight, scale]),
    quantizeX,
    read: (read, [begin, end]) => {
      const stored = readFloats(read, scale);
      const scales = new Float32Array((end - begin) * groups);
      for (let row = begin; row < end; row++) {
        const block = Math.floor(row / rows) * groups;
        scales.set(stored.subarray(block, block + groups), (row - begin) * groups);
      }
      return { codes: bytesOfPart(weight.part, begin * k, end * k), scales, offsets: new Float32Array(0) };
    },
  });
};

/** Rows and columns that share a scale; ModelOpt's FP8_PB_WO has those of blocks as [rows, 1, columns, 1]. */
function blockOf(
  scale: StoredTensor,
  [n, k]: readonly [number, number],
  [rows, columns]: readonly [number, number],
): readonly [rows: number, columns: number] {
  if (!scaleTypes.includes(scale.dtype)) return rejectTensor(scale, scaleTypes.join(" or "));
  const shape = scale.shape.length === 4 ? scale.shape.filter((_, i) => i % 2 === 0) : scale.shape;
  if (elementsOf(shape) === 1) return [n, k];
  if (`${shape}` === `${[n]}` || `${shape}` === `${[n, 1]}`) return [1, k];
  const blocks = [Math.ceil(n / rows), Math.ceil(k / columns)];
  if (`${shape}` === `${blocks}`) return [rows, Math.min(columns, k)];
  return rejectTensor(scale, `one element, ${n} of rows, or [${blocks.join(", ")}] of blocks of ${rows} x ${columns}`);
}
