import { wholeMatrix } from "../descriptor";
import { bytesOf, expectTensor, readWords, type WeightFormat } from "./format";
import { int4Scales, inWord } from "./int4";

/** The column, of eight, of each code of a word. */
const order = [0, 2, 4, 6, 1, 3, 5, 7];

/** AWQ with four bits: qweight I32 [k, n / 8], eight columns in a word in an order of their own; zero points as they are. */
export const awq: WeightFormat = (module, [n, k]) => {
  const qweight = module.get("qweight");
  if (qweight === null) return null;
  expectTensor(qweight, ["I32"], [k, n / inWord]);
  const stored = int4Scales(module, qweight, [n, k], order, 0);
  return wholeMatrix({
    name: module.weight,
    codes: "u4",
    group: stored.group,
    shape: [n, k],
    bytes: bytesOf([qweight, ...stored.tensors]),
    read: (read) => {
      const words = readWords(read, qweight);
      const rowBytes = Math.ceil(k / 2);
      const codes = new Uint8Array(n * rowBytes);
      for (let i = 0, at = 0; i < k; i++) {
        for (let first = 0; first < n; first += inWord, at++) {
          const word = words[at]!;
          for (let c = 0; c < inWord; c++) {
            codes[(first + order[c]!) * rowBytes + (i >> 1)]! |= ((word >>> (4 * c)) & 15) << (4 * (i & 1));
          }
        }
      }
      return { codes, ...stored.read(read) };
    },
  });
};
