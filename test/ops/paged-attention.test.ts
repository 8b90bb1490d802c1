import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, full } from "../helpers/table";
import {
  type AttentionRow,
  attentionBase,
  attentionSequences,
  checkPagedAttention,
  launchAttention,
} from "./cases/attention";

/** Rows of queryLen tokens with these contexts; 0 is a padding row. */
const rows = (queryLen: number, ...kvLens: number[]) => ({
  lengths: kvLens.map((kvLen) => [queryLen, kvLen] as const),
});
const bf16 = { dtype: "bf16" } as const;
const f16 = { dtype: "f16" } as const;
const base = { ...attentionBase, ...rows(1, 1, 40, 17) };

const table = cases(base, [
  {},
  rows(1, 1), // the token itself only
  rows(1, 15, 16, 17, 31, 32, 33), // around the page
  rows(1, 63, 64, 65, 127, 128, 129, 257), // around steps and splits
  rows(1, 0, 5, 0, 0, 9, 0), // padding rows
  { ...rows(1, 0, 5, 0, 0, 9, 0), ...bf16 },
  rows(1, 0, 0), // nothing but padding
  rows(1), // no rows
  { ...rows(1, full ? 9000 : 700), ...bf16 }, // many splits
  { ...rows(1, 1200, 3, 400), ...bf16, headDim: 128, heads: 8 },
  { ...rows(1, ...Array.from({ length: 70 }, (_, i) => 1 + ((i * 37) % 150))), ...bf16 },
  rows(2, 2, 40, 129), // several tokens a row
  rows(8, 8, 9, 200),
  { ...rows(3, 3, 40, 129, 0), ...bf16 },
  { ...rows(8, 8, 9, 200), ...bf16, heads: 8 }, // 32 rows of a KV head
  { ...rows(8, 8, 300), ...bf16, heads: 16 }, // 64
  { ...rows(8, 8, 300), ...bf16, heads: 32 }, // 128
  { heads: 2, kvHeads: 2 },
  { heads: 2, kvHeads: 2, ...bf16 },
  { heads: 8, kvHeads: 1, ...bf16 },
  { heads: 6, kvHeads: 2, ...bf16 },
  { heads: 20, kvHeads: 1, ...bf16 },
  ...[32, 64, 128, 256].map((pageSize) => ({ pageSize, ...bf16, ...rows(1, 300, 33) })),
  ...[8, 24, 72, 80, 96, 112, 128, 160, 224, 256].map((headDim) => ({ headDim })),
  ...[8, 24, 72, 80, 96, 112, 128, 160, 224, 256].map((headDim) => ({ headDim, ...bf16, ...rows(1, 150, 7) })),
  { ...f16 },
  { ...f16, headDim: 80, ...rows(1, 150, 7) },
  { e4m3: true },
  { ...bf16, e4m3: true },
  { ...bf16, e4m3: true, headDim: 128, ...rows(1, 300, 2) },
  { ...f16, e4m3: true, headDim: 80, ...rows(2, 300, 2) },
  { ...bf16, e4m3: true, headDim: 256, ...rows(1, 100) },
  { scale: 1, spread: 4, ...rows(1, 300) },
  { scale: 1, spread: 4, ...rows(1, 300), ...bf16 },
  { scale: -0.25 },
  { scale: 0, ...bf16 },
  { window: 1, ...bf16 },
  { window: 20, ...rows(1, 300, 5, 20, 21) },
  { window: 100, ...rows(4, 300, 5, 103), ...bf16 },
  { window: 150, ...rows(1, 900), ...bf16, headDim: 128 }, // splits that begin within one
  { qPad: 256, outPad: 8, pagePad: 64, ...bf16 },
  { qPad: 7, outPad: 5, pagePad: 3, shift: 1 },
  { qPad: 7, outPad: 5, pagePad: 3, shift: 1, ...bf16 },
  { qPad: 7, outPad: 5, pagePad: 3, shift: 1, ...f16, e4m3: true },
] satisfies Partial<AttentionRow>[]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkPagedAttention(backend, row));

  test("a row has the same bits alone, in any batch and among padding", async () => {
    for (const change of [{}, { ...bf16, headDim: 128 }, { ...f16, e4m3: true }]) {
      const shape = { ...base, ...change, ...rows(1, 300, 1, 0, 700, 64) };
      const sequences = attentionSequences(shape);
      const batch = await launchAttention(backend, shape, sequences, "paged");
      for (const [i, sequence] of sequences.entries()) {
        const [alone] = await launchAttention(backend, shape, [sequence], "paged");
        assertSameBits(`row ${i} alone`, alone!, batch[i]!);
      }
      const order = new Rng(1).permutation(sequences.length);
      const permuted = order.map((i) => sequences[i]!);
      const again = await launchAttention(backend, shape, permuted, "paged");
      order.forEach((from, to) => {
        assertSameBits(`row ${from} elsewhere`, again[to]!, batch[from]!);
      });
    }
  });

  (backend.kind === "cpu" ? test : test.skip)("a token has the bits of the prefill on the CPU", async () => {
    for (const change of [{}, { ...bf16, headDim: 80, window: 90 }]) {
      const shape = { ...base, ...change, ...rows(3, 300, 3, 64) };
      const sequences = attentionSequences(shape);
      const decoded = await launchAttention(backend, shape, sequences, "paged");
      const prefilled = await launchAttention(backend, shape, sequences, "varlen");
      decoded.forEach((out, i) => {
        assertSameBits(`row ${i}`, out, prefilled[i]!);
      });
    }
  });
});
