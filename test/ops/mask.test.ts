import { addLogitBias, maskLogits } from "../../src/ops/mask";
import { sample } from "../../src/ops/sampling";
import { describeEachBackend } from "../helpers/backends";
import { bitsOfFloat } from "../helpers/bits";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface MaskCase {
  readonly vocab: number;
  readonly rows: readonly number[]; // the mask of each; -1 = none
  readonly masks: number;
  readonly share: number; // of the tokens that are allowed
  readonly logitsPad: number;
  readonly masksPad: number;
}

const base = { vocab: 100, rows: [0, 1, 2], masks: 3, share: 0.5, logitsPad: 0, masksPad: 0 };
const table = cases<MaskCase>(base, [
  {},
  { rows: [] },
  { rows: [-1, -1, -1] },
  { rows: [2, -1, 0] },
  { rows: [1, 1, 1] }, // one mask for several rows
  { rows: [0, 3, 2 ** 31 - 1, -(2 ** 31)] }, // no such mask: as without
  { rows: [0], masks: 0 },
  { rows: Array.from({ length: 200 }, (_, i) => (i % 4) - 1) },
  { share: 0 },
  { share: 1 },
  { share: 0.01 },
  { share: 0.99 },
  { vocab: 1 },
  { vocab: 31 },
  { vocab: 32 },
  { vocab: 33 },
  { vocab: 4096 }, // a piece of a row
  { vocab: 4097 },
  { vocab: 8191 },
  { vocab: 8193 },
  { vocab: 32_768, share: 0.001 }, // Mamba-Codestral's vocabulary
  { vocab: 50_280 }, // GPT-NeoX's, padded
  { logitsPad: 3, masksPad: 5 },
  { logitsPad: 1, vocab: 4097 }, // rows on no boundary
]);

describeEachBackend((backend) => {
  describe("mask_logits", () => {
    test.each(table)("$name", async ({ row }) => {
      const { vocab, rows, masks, share, logitsPad, masksPad } = row;
      const rng = new Rng(vocab + rows.length);
      const words = Math.ceil(vocab / 32);
      // Bits past the vocabulary are set as any other, and do not count.
      const bits = Uint8Array.from(rng.uniform(masks * words * 32), (x) => (x < share ? 1 : 0));
      const packed = new Int32Array(masks * words);
      bits.forEach((bit, i) => {
        packed[i >> 5]! |= bit << (i & 31);
      });
      const logits = Float32Array.from(rng.normal(rows.length * vocab));
      if (logits.length > 0) logits[0] = Number.NaN;
      const placed = backend.place("f32", [rows.length, vocab], { values: logits, rowPad: logitsPad });
      const maskTable = backend.place("i32", [masks, words], { values: packed, rowPad: masksPad });
      maskLogits(backend.stream, { logits: placed.tensor, masks: maskTable.tensor, rows: backend.integers(rows) });
      const want = logits.map((logit, i) => {
        const mask = rows[Math.floor(i / vocab)]!;
        if (mask < 0 || mask >= masks) return logit;
        return bits[mask * words * 32 + (i % vocab)] === 1 ? logit : Number.NEGATIVE_INFINITY;
      });
      const got = (await placed.values()) as Float32Array;
      assertSameBits("logits", new Uint32Array(got.buffer), new Uint32Array(want.buffer));
      await maskTable.assertUnchanged("masks");
    });

    test("bits are counted from the lowest, and the token that is drawn is one of them", async () => {
      const vocab = 70;
      const allowed = [0, 31, 32, 69];
      const logits = backend.floats([allowed.length, vocab], new Rng(3).normal(allowed.length * vocab));
      const masks = backend.place("i32", [4, 3], {
        values: [1, 0, 0, 1 << 31, 0, 0, 0, 1, 0, 0, 0, 1 << 5],
      }).tensor;
      maskLogits(backend.stream, { logits, masks, rows: backend.integers([0, 1, 2, 3]) });
      const tokens = backend.place("i32", [allowed.length], { values: [-1, -1, -1, -1] });
      const hot = [bitsOfFloat(5), 0, bitsOfFloat(1), 0, 7, 0, 0, 0];
      const params = backend.place("i32", [4, 8], { values: [hot, hot, hot, hot].flat() }).tensor;
      sample(backend.stream, { tokens: tokens.tensor, logits, params });
      expect(Array.from(await tokens.values())).toEqual(allowed);
    });
  });

  describe("add_logit_bias", () => {
    test.each([
      { rows: 3, vocab: 10, entries: [] as number[][] },
      {
        rows: 3,
        vocab: 10,
        entries: [
          [0, 9, 2.5],
          [2, 0, -100],
          [0, 3, 1],
        ],
      },
      {
        rows: 2,
        vocab: 5,
        entries: [
          [2, 0, 1],
          [-1, 0, 1],
          [0, 5, 1],
          [0, -1, 1],
          [1, 4, 7],
        ],
      }, // four of them outside
      { rows: 4, vocab: 4097, entries: Array.from({ length: 2000 }, (_, e) => [e % 4, 2 * e, e / 8]) },
    ])("$rows x $vocab, entries $entries.length", async ({ rows, vocab, entries }) => {
      const logits = Float32Array.from(new Rng(vocab).normal(rows * vocab));
      const placed = backend.place("f32", [rows, vocab], { values: logits, rowPad: 3 });
      const column = (i: number) => entries.map((entry) => entry[i]!);
      addLogitBias(backend.stream, {
        logits: placed.tensor,
        rows: backend.integers(column(0)),
        tokens: backend.integers(column(1)),
        bias: backend.floats([entries.length], column(2)),
      });
      for (const [row, token, bias] of entries as [number, number, number][]) {
        if (row >= 0 && row < rows && token >= 0 && token < vocab) logits[row * vocab + token]! += bias;
      }
      assertSameBits("logits", await placed.words(), Uint32Array.from(logits, bitsOfFloat));
    });
  });
});
