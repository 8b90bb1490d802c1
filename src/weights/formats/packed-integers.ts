import { wholeMatrix } from "../descriptor";
import { bytesOfPart, columnsOfPart } from "../part";
import {
  bytesOf,
  expectTensor,
  needTensor,
  readFloats,
  readWords,
  rejectTensor,
  scaleTypes,
  type WeightFormat,
} from "./format";
import { floatsOfGroups, groupOf, inWord, unorderedGroups } from "./int4";

/**
 * Integers of compressed-tensors, with scales [n, groups]: weight I8 [n, k]; or weight_packed I32 [n, words of a row], codes of four or
 * eight bits with the first of k lowest, which are 8 or 128 more than what they mean. Zero points, of four bits only, lie in words
 * along n: weight_zero_point I32 [n / 8, groups]. By weight_g_idx as by GPTQ's.
 */
export const packedIntegers: WeightFormat = (module, [n, k]) => {
  const packed = module.get("weight_packed");
  const weight = packed ?? module.get("weight");
  if (weight?.dtype !== "I32" && weight?.dtype !== "I8") return null;
  const isInt4 = packed !== null && packed.shape[1] === Math.ceil(k / inWord);
  expectTensor(
    weight,
    [packed === null ? "I8" : "I32"],
    [n, packed === null ? k : Math.ceil(k / (isInt4 ? inWord : 4))],
  );
  const scale = needTensor(module, "weight_scale", weight);
  const groups = scale.shape[1] ?? 1;
  if (!scaleTypes.includes(scale.dtype) || scale.shape[0] !== n || groups < 1 || groups > k) {
    rejectTensor(scale, `${scaleTypes.join(" or ")} [${n}, groups]`);
  }
  const group = groupOf(scale, k, groups);
  const zeros = module.get("weight_zero_point");
  if (zeros !== null && !isInt4) rejectTensor(zeros, "codes of eight bits without zero points");
  if (zeros !== null) expectTensor(zeros, ["I32"], [Math.ceil(n / inWord), groups]);
  module.get("weight_shape");
  const rowBytes = weight.part.bytes / n;
  const unordered = unorderedGroups(module, "weight_g_idx", k, group);
  if (unordered !== null) {
    return floatsOfGroups(module.weight, [n, k], unordered, groups, (read) => {
      const bytes = read(weight.part);
      const codeAt = isInt4
        ? (row: number, column: number) => (bytes[row * rowBytes + (column >> 1)]! >> (4 * (column & 1))) & 15
        : (row: number, column: number) => bytes[row * rowBytes + column]! - 128;
      const scales = readFloats(read, scale);
      const offsets = isInt4 ? offsetsOf(scales, groups, zeros && readWords(read, zeros), 0) : scales.map(() => 0);
      return { scales, offsets, codeAt };
    });
  }
  return wholeMatrix({
    name: module.weight,
    codes: isInt4 ? "u4" : "i8",
    group,
    shape: [n, k],
    bytes: bytesOf([weight, scale, zeros]),
    read: (read, [begin, end]) => {
      const rows = bytesOfPart(weight.part, begin * rowBytes, end * rowBytes);
      const scales = readFloats(read, scale).subarray(begin * groups, end * groups);
      if (isInt4) {
        const codes = columnsOfPart(rows, rowBytes, [0, Math.ceil(k / 2)]);
        return { codes, scales, offsets: offsetsOf(scales, groups, zeros && readWords(read, zeros), begin) };
      }
      const signed = packed === null ? rows : read(columnsOfPart(rows, rowBytes, [0, k])).map((code) => code ^ 0x80);
      return { codes: signed, scales, offsets: new Float32Array(0) };
    },
  });
};

/** Those of rows from `begin` on; without zero points codes are 8 more than what they mean. */
function offsetsOf(scales: Float32Array, groups: number, zeros: Uint32Array | null, begin: number): Float32Array {
  return scales.map((scale, i) => {
    const row = begin + Math.floor(i / groups);
    const word = zeros?.[Math.floor(row / inWord) * groups + (i % groups)];
    return -scale * (word === undefined ? 8 : (word >>> (4 * (row % inWord))) & 15);
  });
}
