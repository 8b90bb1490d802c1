import { wholeMatrix } from "../descriptor";
import { bytesOf, expectTensor, type WeightFormat } from "./format";
import { int4Scales, inWord, scalesOfRows, wordColumns } from "./int4";

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
    read: (read, [begin, end]) => {
      const ofWords = [Math.floor(begin / inWord), Math.ceil(end / inWord)] as const;
      const words = wordColumns(read, qweight, ofWords);
      const start = ofWords[0] * inWord;
      const count = ofWords[1] * inWord - start;
      const rowBytes = Math.ceil(k / 2);
      const codes = new Uint8Array(count * rowBytes);
      for (let i = 0, at = 0; i < k; i++) {
        for (let first = 0; first < count; first += inWord, at++) {
          const word = words[at]!;
          for (let c = 0; c < inWord; c++) {
            codes[(first + order[c]!) * rowBytes + (i >> 1)]! |= ((word >>> (4 * c)) & 15) << (4 * (i & 1));
          }
        }
      }
      return {
        codes: codes.subarray((begin - start) * rowBytes, (end - start) * rowBytes),
        ...scalesOfRows(stored.read(read), stored.groups, [begin, end]),
      };
    },
  });
};
