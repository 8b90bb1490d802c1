import { wholeMatrix } from "../descriptor";
import { bytesOf, expectTensor, readWords, type WeightFormat } from "./format";
import { floatsOfGroups, int4Scales, inWord, scalesOfRows, unorderedGroups, wordColumns } from "./int4";

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
  const unordered = unorderedGroups(module, "g_idx", k, group);
  if (unordered !== null) {
    return floatsOfGroups(module.weight, [n, k], unordered, groups, (read) => {
      const words = readWords(read, qweight);
      const codeAt = (row: number, column: number) =>
        (words[Math.floor(column / inWord) * n + row]! >>> (4 * (column % inWord))) & 15;
      return { ...stored.read(read), codeAt };
    });
  }
  return wholeMatrix({
    name: module.weight,
    codes: "u4",
    group,
    shape: [n, k],
    bytes: bytesOf([qweight, ...stored.tensors]),
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
