import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, full } from "../helpers/table";
import {
  type AttentionRow,
  type AttentionSequence,
  attentionBase,
  attentionSequences,
  checkAttentionVarlen,
  launchAttention,
} from "./cases/attention";
import { packed } from "./cases/causal-conv1d";

/** Prompts without context. */
const prompts = (...lengths: number[]) => ({ lengths: lengths.map((n) => [n, n] as const) });
const bf16 = { dtype: "bf16" } as const;
const f16 = { dtype: "f16" } as const;
const long = prompts(full ? 1200 : 300);

const table = cases(attentionBase, [
  {},
  prompts(1), // a single token
  prompts(15, 16, 17, 32), // around the page
  prompts(63, 64, 65), // around a step of keys
  prompts(127, 128, 129), // around the tile
  { ...long, ...bf16 }, // several tiles
  { ...long, ...bf16, headDim: 128 },
  { ...long, ...bf16, headDim: 80 },
  { ...long, ...bf16, headDim: 256, heads: 2, kvHeads: 1 },
  { ...long, ...f16, heads: 8, kvHeads: 1 },
  {
    lengths: [
      [1, 100],
      [64, 65],
      [40, 300],
      [2, 64],
    ],
  }, // with context
  {
    lengths: [
      [130, 391],
      [17, 64],
    ],
    ...bf16,
    headDim: 128,
  },
  {
    lengths: [
      [0, 0],
      [5, 9],
      [0, 0],
      [0, 0],
      [3, 3],
      [0, 0],
    ],
  }, // padding rows
  {
    lengths: [
      [0, 0],
      [5, 9],
      [0, 30],
    ],
    ...bf16,
  }, // a row that has context only
  { lengths: [] }, // no rows
  { heads: 2, kvHeads: 2 }, // as many KV heads as heads
  { heads: 8, kvHeads: 1 }, // one KV head
  { heads: 6, kvHeads: 2 }, // a group of three
  { heads: 7, kvHeads: 1, ...bf16 },
  { heads: 32, kvHeads: 2, ...bf16 },
  { pageSize: 32, ...prompts(70, 33) },
  { pageSize: 64, ...prompts(130, 33) },
  { pageSize: 64, ...prompts(130, 33), ...bf16 },
  { pageSize: 128, ...prompts(130, 33), ...bf16 },
  { pageSize: 256, ...prompts(290, 3) },
  { pageSize: 256, ...prompts(290, 3), ...bf16 },
  ...[8, 16, 24, 72, 80, 96, 112, 128, 160, 192, 224, 256].map((headDim) => ({ headDim })),
  ...[8, 16, 24, 72, 80, 96, 112, 128, 160, 192, 224, 256].map((headDim) => ({ headDim, ...bf16, ...prompts(70) })),
  { ...bf16, headDim: 80, e4m3: true },
  { ...f16 },
  { ...f16, headDim: 96, ...prompts(70, 200) },
  { e4m3: true },
  { ...bf16, e4m3: true, headDim: 128, ...prompts(70, 200) },
  { ...f16, e4m3: true, headDim: 256, ...prompts(70) },
  { scale: 1, spread: 4 }, // nearly one-hot
  { ...bf16, scale: 1, spread: 4 },
  { scale: -0.25 },
  { scale: 0 }, // the mean
  { window: 1 }, // itself only
  { window: 4, ...prompts(40, 3) },
  { window: 64, ...prompts(200) }, // a step of keys
  { window: 65, ...prompts(200), ...bf16, headDim: 128 },
  { window: 100, lengths: [[150, 400]], ...bf16 },
  { window: 1000 }, // more than there is
  { qPad: 256, outPad: 8, pagePad: 64 }, // q is a slice of a packed row
  { qPad: 256, outPad: 8, pagePad: 64, ...bf16, ...prompts(70) },
  { qPad: 7, outPad: 5, pagePad: 3, shift: 1 }, // nothing is aligned
  { qPad: 7, outPad: 5, pagePad: 3, shift: 1, ...bf16 },
  { qPad: 7, outPad: 5, pagePad: 3, shift: 1, ...f16, e4m3: true },
] satisfies Partial<AttentionRow>[]);

/** Computes one sequence in pieces that end as given; each sees the keys up to its end only. */
async function inPieces(
  launch: (sequences: AttentionSequence[]) => Promise<Float32Array[]>,
  shape: AttentionRow,
  whole: AttentionSequence,
  ends: readonly number[],
): Promise<Float32Array> {
  const size = shape.heads * shape.headDim;
  const kvSize = shape.kvHeads * shape.headDim;
  const outs: Float32Array[] = [];
  let start = 0;
  for (const end of ends) {
    const [out] = await launch([
      {
        queryLen: end - start,
        kvLen: end,
        q: whole.q.subarray(start * size, end * size),
        k: whole.k.subarray(0, end * kvSize),
        v: whole.v.subarray(0, end * kvSize),
      },
    ]);
    outs.push(out!);
    start = end;
  }
  return packed(outs);
}

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkAttentionVarlen(backend, row));

  const shapes = [
    { ...attentionBase, ...prompts(200) },
    { ...attentionBase, ...prompts(200), ...bf16, headDim: 128, heads: 6 },
    { ...attentionBase, ...prompts(200), ...f16, e4m3: true, window: 70 },
  ];

  test.each([
    ["after the first token", [1, 200]],
    ["at a step of keys", [64, 128, 200]],
    ["beside it", [63, 129, 200]],
    ["at primes", [2, 3, 5, 7, 11, 13, 17, 31, 61, 199, 200]],
  ])("cut %s, a prompt has the same bits", async (_name, ends) => {
    for (const shape of shapes) {
      const launch = (sequences: AttentionSequence[]) => launchAttention(backend, shape, sequences, "varlen");
      const [whole] = attentionSequences(shape) as [AttentionSequence];
      assertSameBits("out", await inPieces(launch, shape, whole, ends), (await launch([whole]))[0]!);
    }
  });

  test("a permuted batch gives each row the same bits", async () => {
    const shape = { ...attentionBase, ...bf16, ...prompts(33, 1, 0, 130, 8, 64) };
    const sequences = attentionSequences(shape);
    const order = new Rng(1).permutation(sequences.length);
    const straight = await launchAttention(backend, shape, sequences, "varlen");
    const permuted = await launchAttention(
      backend,
      shape,
      order.map((i) => sequences[i]!),
      "varlen",
    );
    order.forEach((from, to) => {
      assertSameBits(`row ${from}`, permuted[to]!, straight[from]!);
    });
  });
});
