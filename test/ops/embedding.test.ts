import { embedding, gatherRows, placeDrawnTokens } from "../../src/ops/embedding";
import { describeEachBackend } from "../helpers/backends";
import { decode, encode, type FloatDType, newWords, rounded } from "../helpers/bits";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface EmbeddingRow {
  readonly ids: readonly number[];
  readonly vocab: number;
  readonly hidden: number;
  readonly weightDtype: FloatDType;
  readonly outDtype: FloatDType;
}

const embeddingTable = cases<EmbeddingRow>(
  { ids: [3, 0, 9, 3], vocab: 10, hidden: 40, weightDtype: "f32", outDtype: "f32" },
  [
    {},
    { ids: [] }, // no tokens
    { ids: [7] }, // one token
    { ids: Array.from({ length: 500 }, (_, i) => (i * 7) % 10) }, // more tokens than threads
    { hidden: 1 }, // a single channel
    { hidden: 17 }, // one more than a vector
    { weightDtype: "bf16" }, // bf16 table
    { weightDtype: "f16" }, // f16 table
    { outDtype: "bf16" }, // rounds to bf16
    { weightDtype: "bf16", outDtype: "bf16" }, // copies bf16
    { weightDtype: "f16", outDtype: "bf16" }, // f16 to bf16
    { outDtype: "f16" }, // rounds to f16
    { weightDtype: "bf16", outDtype: "f16" }, // bf16 to f16
    { weightDtype: "f16", outDtype: "f16" }, // copies f16
    { ids: [-1, 2, 10, 2147483647, -2147483648] }, // ids outside the table give zeros
  ],
);

interface GatherRow {
  readonly index: readonly number[];
  readonly sourceRows: number;
  readonly width: number;
  readonly dtype: FloatDType;
  readonly xPad: number;
  readonly shift: number;
}

const gatherTable = cases<GatherRow>({ index: [4, 0, 4], sourceRows: 5, width: 40, dtype: "f32", xPad: 0, shift: 0 }, [
  {},
  { index: [] }, // no rows
  { index: Array.from({ length: 500 }, (_, i) => (i * 3) % 5) }, // more rows than threads
  { width: 1 }, // a single channel
  { width: 17 }, // one more than a vector
  { dtype: "bf16" }, // 16-bit elements
  { dtype: "f16" }, // 16-bit elements
  { xPad: 24 }, // x is a slice of a wider row
  { dtype: "bf16", width: 17, xPad: 7, shift: 1 }, // nothing is aligned
  { index: [-1, 2, 5] }, // an index outside gives zeros
]);

describeEachBackend((backend) => {
  describe("embedding", () => {
    test.each(embeddingTable)("$name", async ({ row }) => {
      const { ids, vocab, hidden, weightDtype, outDtype } = row;
      const weight = rounded(weightDtype, new Rng(0).normal(vocab * hidden));
      const out = backend.place(outDtype, [ids.length, hidden]);
      embedding(backend.stream, {
        out: out.tensor,
        weight: backend.place(weightDtype, [vocab, hidden], { values: weight }).tensor,
        ids: backend.integers(ids),
      });
      const want = new Float32Array(ids.length * hidden);
      ids.forEach((id, t) => {
        if (id >= 0 && id < vocab) want.set(weight.subarray(id * hidden, (id + 1) * hidden), t * hidden);
      });
      assertSameBits("out", await out.words(), encode(outDtype, want));
    });
  });

  describe("gatherRows", () => {
    test.each(gatherTable)("$name", async ({ row }) => {
      const { index, sourceRows, width, dtype } = row;
      const source = encode(dtype, new Rng(0).normal(sourceRows * width));
      const x = backend.place(dtype, [sourceRows, width], {
        values: decode(dtype, source),
        rowPad: row.xPad,
        shift: row.shift,
      });
      const out = backend.place(dtype, [index.length, width]);
      gatherRows(backend.stream, { out: out.tensor, x: x.tensor, index: backend.integers(index) });
      const want = newWords(dtype, index.length * width);
      index.forEach((from, r) => {
        if (from >= 0 && from < sourceRows) want.set(source.subarray(from * width, (from + 1) * width), r * width);
      });
      assertSameBits("out", await out.words(), want);
    });
  });

  describe("placeDrawnTokens", () => {
    const drawn = [70, -1, 90];
    test.each([
      [
        [5, -1, -3, -1],
        [5, 70, 90, 70],
      ],
      [[], []],
      [[-2], [-1]], // logits that were not finite
      [
        [-4, -2147483648, 2147483647],
        [-4, -2147483648, 2147483647],
      ], // not among the drawn
      [
        Array.from({ length: 1000 }, (_, i) => (i % 2 ? i : -3)),
        Array.from({ length: 1000 }, (_, i) => (i % 2 ? i : 90)),
      ],
    ])("%j", async (ids, want) => {
      const placed = backend.place("i32", [ids.length], { values: ids });
      placeDrawnTokens(backend.stream, { ids: placed.tensor, drawn: backend.integers(drawn) });
      expect([...Int32Array.from(await placed.words(), (word) => word | 0)]).toEqual(want);
    });
  });
});
