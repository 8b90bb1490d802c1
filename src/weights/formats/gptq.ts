import { wholeMatrix } from "../descriptor";
import { bytesOf, expectTensor, readWords, type WeightFormat } from "./format";
import { int4Scales, inWord, scalesOfRows, wordColumns } from "./int4";

const inOrder = [0, 1, 2, 3, 4, 5, 6, 7];

/**
 * GPTQ with four bits: qweight I32 [k / 8, n], eight of k in a word. Zero points are stored less one, but by its second version.
 * g_idx [k] is the group of each of k; where a group's are not beside each other (act-order) the matrix becomes floats.
 */
export const gptq: WeightFormat = (module, [n, k], { plainZeroPoints }) => {
  const qweight = module.get("qweight");
  // AWQ has as many words, the other way round.
  if (qweight === null || qweight.shape[1] !== n) return null;
  expectTensor(qweight, ["I32"], [k / inWord, n]);
  const stored = int4Scales(module, qweight, [n, k], inOrder, plainZeroPoints ? 0 : 1);
  const { group, groups } = stored;
  const index = module.get("g_idx");
  if (index !== null) expectTensor(index, ["I32"], [k]);
  const groupOf = index === null ? null : readWords(module.read, index);
  if (groupOf?.some((g, i) => g !== Math.floor(i / group))) {
    return {
      name: module.weight,
      dtype: "f32",
      shape: [n, k],
      source: {
        values: (read) => {
          const { scales, offsets } = stored.read(read);
          const words = readWords(read, qweight);
          const values = new Float32Array(n * k);
          for (let column = 0; column < n; column++) {
            for (let i = 0; i < k; i++) {
              const at = column * groups + Math.min(groupOf[i]!, groups - 1);
              const code = (words[Math.floor(i / inWord) * n + column]! >>> (4 * (i % inWord))) & 15;
              values[column * k + i] = scales[at]! * code + offsets[at]!;
            }
          }
          return values;
        },
      },
    };
  }
  return wholeMatrix({
    name: module.weight,
    codes: "u4",
    group,
    shape: [n, k],
    bytes: bytesOf([qweight, ...stored.tensors, index]),
    read: (read, [begin, end]) => {
      // A word's codes are those of its column in order: the words are transposed.
      const words = wordColumns(read, qweight, [begin, end]);
      const rows = new Uint32Array(words.length);
      const width = k / inWord;
      const count = end - begin;
      for (let r = 0; r < width; r++) {
        for (let column = 0; column < count; column++) rows[column * width + r] = words[r * count + column]!;
      }
      return { codes: new Uint8Array(rows.buffer), ...scalesOfRows(stored.read(read), groups, [begin, end]) };
    },
  });
};
