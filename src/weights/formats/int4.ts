import type { WeightDescriptor } from "../descriptor";
import { columnsOfPart, type ReadPart } from "../part";
import type { Range } from "../range";
import {
  expectTensor,
  type ModuleTensors,
  needTensor,
  readFloats,
  readWords,
  rejectTensor,
  type StoredTensor,
  scaleTypes,
} from "./format";

/** Codes of four bits in a 32-bit word. */
export const inWord = 8;

/** What GPTQ and AWQ store beside their codes. */
export interface Int4Scales {
  readonly tensors: readonly StoredTensor[];
  /** How many of k share a scale. */
  readonly group: number;
  readonly groups: number;
  read(read: ReadPart): RowScales;
}

/** For a value scale * code + offset: [n, groups] of each. */
export interface RowScales {
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Words [begin, end) of each row. */
export function wordColumns(read: ReadPart, tensor: StoredTensor, [begin, end]: Range): Uint32Array {
  const part = columnsOfPart(tensor.part, 4 * tensor.shape[1]!, [4 * begin, 4 * end]);
  return readWords(read, { ...tensor, part });
}

/** Those of rows [begin, end). */
export function scalesOfRows({ scales, offsets }: RowScales, groups: number, [begin, end]: Range): RowScales {
  return {
    scales: scales.subarray(begin * groups, end * groups),
    offsets: offsets.subarray(begin * groups, end * groups),
  };
}

/**
 * scales [groups, n] and qzeros [groups, n / 8], where column 8 j + order[i] is the i-th code of word j; `added` is what a zero
 * point is more than its code.
 */
export function int4Scales(
  module: ModuleTensors,
  qweight: StoredTensor,
  [n, k]: readonly [number, number],
  order: readonly number[],
  added: number,
): Int4Scales {
  const scale = needTensor(module, "scales", qweight);
  const zeros = needTensor(module, "qzeros", qweight);
  const [groups = 0, columns] = scale.shape;
  if (!scaleTypes.includes(scale.dtype) || scale.shape.length !== 2 || columns !== n || groups < 1 || groups > k) {
    return rejectTensor(scale, `${scaleTypes.join(" or ")} [groups, ${n}]`);
  }
  if (zeros.dtype !== "I32" || `${zeros.shape}` !== `${[groups, n / inWord]}`) {
    return rejectTensor(zeros, `I32 [${groups}, ${n / inWord}]`);
  }
  const group = groupOf(scale, k, groups);
  const read = (readPart: ReadPart) => {
    const stored = readFloats(readPart, scale);
    const words = new Uint32Array(readPart(zeros.part).buffer);
    const scales = new Float32Array(n * groups);
    const offsets = new Float32Array(n * groups);
    for (let g = 0; g < groups; g++) {
      for (let word = 0; word < n / inWord; word++) {
        const codes = words[(g * n) / inWord + word]!;
        for (let i = 0; i < inWord; i++) {
          const column = word * inWord + order[i]!;
          const value = stored[g * n + column]!;
          scales[column * groups + g] = value;
          offsets[column * groups + g] = -value * (((codes >>> (4 * i)) & 15) + added);
        }
      }
    }
    return { scales, offsets };
  };
  return { tensors: [scale, zeros], group, groups, read };
}

/** How many of k share one of a row's scales: a power of two, or all of them; the last group may be shorter. */
export function groupOf(scale: StoredTensor, k: number, groups: number): number {
  const group = groups === 1 ? k : 2 ** Math.ceil(Math.log2(k / groups));
  if (Math.ceil(k / group) !== groups) rejectTensor(scale, `groups of a power of two in ${k}`);
  return group;
}

/** The group of each of k by a tensor of I32 [k]; null where groups are as they would be without it, in order. */
export function unorderedGroups(module: ModuleTensors, name: string, k: number, group: number): Uint32Array | null {
  const index = module.get(name);
  if (index === null) return null;
  expectTensor(index, ["I32"], [k]);
  const groups = readWords(module.read, index);
  return groups.some((g, i) => g !== Math.floor(i / group)) ? groups : null;
}

/** A matrix [n, k] of codes whose groups do not lie beside each other (act-order), as floats. */
export function floatsOfGroups(
  name: string,
  [n, k]: readonly [number, number],
  groupOfColumn: Uint32Array,
  groups: number,
  stored: (read: ReadPart) => RowScales & { codeAt(row: number, column: number): number },
): WeightDescriptor {
  const values = (read: ReadPart) => {
    const { scales, offsets, codeAt } = stored(read);
    const all = new Float32Array(n * k);
    for (let row = 0, i = 0; row < n; row++) {
      for (let column = 0; column < k; column++, i++) {
        const at = row * groups + Math.min(groupOfColumn[column]!, groups - 1);
        all[i] = scales[at]! * codeAt(row, column) + offsets[at]!;
      }
    }
    return all;
  };
  return { name, dtype: "f32", shape: [n, k], source: { values } };
}
