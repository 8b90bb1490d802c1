import fc from "fast-check";
import { cuSeqlensToChunkIndicesOffsets } from "../helpers/chunk-indices";

const five = [0, 10, 25, 40, 60, 75];

test.each([
  { cu: [0], chunk: 8, indices: [], offsets: [], extra: 0 },
  { cu: [0, 16], chunk: 8, indices: [0, 1], offsets: [0, 0], extra: 0 },
  { cu: [0, 10], chunk: 8, indices: [0, 1], offsets: [0, 0], extra: 0 },
  { cu: [0, 8, 16], chunk: 8, indices: [0, 1], offsets: [0, 0], extra: 0 },
  { cu: [0, 5, 10], chunk: 8, indices: [0, 0, 1], offsets: [0, 5, 0], extra: 1 },
  {
    cu: five,
    chunk: 8,
    indices: [0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9],
    offsets: [0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 4, 0, 0],
    extra: 3,
  },
  { cu: five, chunk: 16, indices: [0, 0, 1, 1, 2, 2, 3, 3, 4], offsets: [0, 10, 0, 9, 0, 8, 0, 12, 0], extra: 4 },
  { cu: five, chunk: 32, indices: [0, 0, 0, 1, 1, 1, 2], offsets: [0, 10, 25, 0, 8, 28, 0], extra: 4 },
  { cu: five, chunk: 64, indices: [0, 0, 0, 0, 0, 1], offsets: [0, 10, 25, 40, 60, 0], extra: 4 },
  { cu: five, chunk: 128, indices: [0, 0, 0, 0, 0], offsets: [0, 10, 25, 40, 60], extra: 4 },
  { cu: [0, 2, 4, 6], chunk: 64, indices: [0, 0, 0], offsets: [0, 2, 4], extra: 2 },
  // An empty sequence at an unaligned boundary, where the closed formula gives a fourth chunk; at an aligned one.
  { cu: [0, 5, 5, 10], chunk: 8, indices: [0, 0, 1], offsets: [0, 5, 0], extra: 1 },
  { cu: [0, 8, 8, 16], chunk: 8, indices: [0, 1], offsets: [0, 0], extra: 0 },
])("cu_seqlens $cu in chunks of $chunk", ({ cu, chunk, indices, offsets, extra }) => {
  expect(cuSeqlensToChunkIndicesOffsets(cu, chunk)).toEqual({
    chunkIndices: indices,
    chunkOffsets: offsets,
    extraChunks: extra,
  });
});

/** The original's closed formula (arange minus a running count of unaligned boundaries): right without empty sequences. */
function closedForm(cu: readonly number[], chunk: number) {
  const unaligned = cu.slice(1, -1).filter((boundary) => boundary % chunk > 0).length;
  const numChunks = Math.ceil(cu.at(-1)! / chunk) + unaligned;
  const chunkIndices = Array.from({ length: numChunks }, (_, i) => i);
  const chunkOffsets = new Array<number>(numChunks).fill(0);
  let shift = 0;
  for (let i = 1; i < cu.length - 1; i++) {
    const [start, end] = [cu[i]!, cu[i + 1]!];
    shift += start % chunk > 0 ? 1 : 0;
    const first = Math.floor(start / chunk) + shift;
    const last = Math.floor(end / chunk) + shift + (end % chunk > 0 ? 1 : 0);
    for (let c = first; c < last; c++) chunkIndices[c] = c - shift;
    chunkOffsets[first] = start % chunk;
  }
  return { chunkIndices, chunkOffsets, extraChunks: unaligned };
}

test("equals the closed formula for sequences that are not empty", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 33 }), (each, chunk) => {
      const cu = [0];
      for (const length of each) cu.push(cu.at(-1)! + length);
      expect(cuSeqlensToChunkIndicesOffsets(cu, chunk)).toEqual(closedForm(cu, chunk));
    }),
    { numRuns: 1000 },
  );
});
