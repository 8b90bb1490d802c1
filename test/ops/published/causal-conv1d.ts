/**
 * The convolution tables of vLLM (tests/kernels/mamba/test_causal_conv1d.py), TensorRT-LLM (test_causal_conv1d*) and
 * Dao-AILab/causal-conv1d (tests/test_causal_conv1d.py).
 *
 * What does not apply here: speculative decoding (num_accepted_tokens), the channel-major layout, backward passes. Several
 * tokens per row (vLLM's seqlen 3, causal-conv1d's 4 and 5) are sequences with an initial state.
 */
import type { FloatDType } from "../../helpers/bits";
import type { Tolerance } from "../../helpers/close";
import { Rng } from "../../helpers/rng";
import { type Case, cases, product } from "../../helpers/table";
import type { ConvUpdateRow, ConvVarlenRow } from "../cases/causal-conv1d";

export interface Table<Row> {
  readonly title: string;
  readonly table: readonly Case<Row>[];
}

const bools = [false, true];
const vllmTolerance: Record<FloatDType, Tolerance> = {
  f32: { rtol: 3e-4, atol: 1e-3 },
  f16: { rtol: 3e-3, atol: 5e-3 },
  bf16: { rtol: 1e-2, atol: 5e-2 },
};
const trtTolerance: Record<FloatDType, Tolerance> = {
  f32: { rtol: 1e-2, atol: 2e-3 },
  f16: { rtol: 1e-2, atol: 1e-2 },
  bf16: { rtol: 1e-2, atol: 1e-1 },
};

/** Every row in each type of x and state, which vLLM keeps equal, with the suite's own tolerance. */
function inEachType<Row extends ConvUpdateRow | ConvVarlenRow>(
  rows: readonly Partial<Row>[],
  tolerance: Record<FloatDType, Tolerance>,
): Partial<Row>[] {
  return (["f32", "f16", "bf16"] as const).flatMap((dtype) =>
    rows.map((row) => ({ ...row, dtype, stateDtype: dtype, tolerance: tolerance[dtype] })),
  );
}

/** `total` tokens cut at random into `count` sequences, or fewer if there are not enough tokens. */
function randomSplit(total: number, count: number, rng: Rng): number[] {
  const parts = Math.min(count, total);
  const cuts = rng
    .permutation(total - 1)
    .slice(0, parts - 1)
    .map((cut) => cut + 1)
    .sort((a, b) => a - b);
  return [...cuts, total].map((end, i) => end - (cuts[i - 1] ?? 0));
}

const five = (first: number) => [0, 1, 2, 3, 4].map((i) => first + i);

export function updateTables(base: ConvUpdateRow): Table<ConvUpdateRow>[] {
  type Axes = Partial<ConvUpdateRow>[];
  const single: Axes = product<ConvUpdateRow>({ silu: bools, bias: bools, dim: [2048, 2064, 4096] });
  const gather: Axes = product<ConvUpdateRow>({ silu: bools, bias: bools, width: [3, 4], dim: [2064, 4096] });
  const daoUpdate: Axes = product<ConvUpdateRow>({
    silu: bools,
    bias: bools,
    width: [2, 3, 4],
    dim: [2048, 2064, 4096],
  });
  const trt: Axes = product<ConvUpdateRow>({
    silu: bools,
    rows: [1, 2, 4, 8, 16],
    width: [2, 3, 4],
    dim: [256, 512, 1024, 2048],
  });
  const vllmBatch = { ...base, rows: 3, slotsInPool: 30 };
  return [
    {
      title: "vLLM test_causal_conv1d_update",
      table: cases<ConvUpdateRow>(
        { ...base, rows: 2, slotsInPool: 3, width: 4, dtype: "bf16", stateDtype: "bf16" },
        single.map((row) => ({ ...row, tolerance: vllmTolerance.bf16 })),
      ),
    },
    {
      title: "vLLM test_causal_conv1d_update_with_batch_gather, seqlen 1",
      table: cases<ConvUpdateRow>(vllmBatch, inEachType(gather, vllmTolerance)),
    },
    {
      title: "vLLM test_causal_conv1d_update_with_batch_gather, seqlen 1, padding",
      table: cases<ConvUpdateRow>({ ...vllmBatch, rows: 8, padding: five(3) }, inEachType(gather, vllmTolerance)),
    },
    {
      title: "causal-conv1d test_causal_conv1d_update, seqlen 1",
      table: cases<ConvUpdateRow>({ ...base, rows: 2 }, inEachType(daoUpdate, vllmTolerance)),
    },
    {
      title: "causal-conv1d test_causal_conv1d_update_with_batch_gather, seqlen 1",
      table: cases<ConvUpdateRow>({ ...base, rows: 64, slotsInPool: 128 }, inEachType(daoUpdate, vllmTolerance)),
    },
    {
      title: "TensorRT-LLM causal_conv1d generation",
      table: cases<ConvUpdateRow>({ ...base, slotsInPool: 16 }, inEachType(trt, trtTolerance)),
    },
  ];
}

export function varlenTables(base: ConvVarlenRow): Table<ConvVarlenRow>[] {
  type Axes = Partial<ConvVarlenRow>[];
  const rng = new Rng(0);
  const gather: Axes = product<ConvVarlenRow>({ silu: bools, bias: bools, width: [3, 4], dim: [2064, 4096] });
  const vllmVarlen: Axes = product<{ seqlen: number; dim: number; padded: boolean; batch: number }>({
    seqlen: [8, 249, 4096],
    dim: [64, 4096],
    padded: bools,
    batch: [4, 10],
  }).map(({ seqlen, dim, padded, batch }) => {
    const lengths = randomSplit(seqlen!, batch! + (padded ? 3 : 0), rng);
    const padding = padded ? [1, 2, 3].map((i) => lengths.length - i) : [];
    // x is columns [4096, 4096 + dim) of a row of dim + 4160.
    return { lengths, dim: dim!, padding, slotsInPool: batch! * 10, xPad: 4160, shift: 4096 };
  });
  const trt: Axes = [
    ...product<ConvVarlenRow>({ silu: bools, dim: [256, 1024, 2048], width: [2, 3, 4], lengths: [[512], [33, 64, 1]] }),
    ...product<ConvVarlenRow>({ dim: [2048, 2054], lengths: [[512], [200, 1, 3, 308], [1, 2, 1, 3]] }).flatMap((row) =>
      [5120, 5121].map((pitch) => ({ ...row, xPad: pitch - row.dim! })),
    ),
  ];
  const dao: Axes = product<ConvVarlenRow>({
    lengths: [1, 2, 8, 16, 32, 64, 128, 129, 130, 151, 256, 372, 512, 784, 1024, 1134, 2048, 4096].map((n) => [n, n]),
    dim: [64, 4128],
    width: [2, 3, 4],
    silu: bools,
    bias: bools,
    initial: ["none", "all"],
  });
  const daoUpdate: Axes = product<ConvVarlenRow>({
    lengths: [4, 5].map((n) => [n, n]),
    silu: bools,
    bias: bools,
    width: [2, 3, 4],
    dim: [2048, 2064, 4096],
  });
  const daoStates: Axes = [2, 3, 4].map((width) => ({ width }));
  const vllmBatch = { ...base, initial: "all", slotsInPool: 30 } as const;
  return [
    {
      title: "vLLM test_causal_conv1d_update_with_batch_gather, seqlen 3",
      table: cases<ConvVarlenRow>({ ...vllmBatch, lengths: [3, 3, 3] }, inEachType(gather, vllmTolerance)),
    },
    {
      title: "vLLM test_causal_conv1d_update_with_batch_gather, seqlen 3, padding",
      table: cases<ConvVarlenRow>(
        { ...vllmBatch, lengths: new Array(8).fill(3), padding: five(3) },
        inEachType(gather, vllmTolerance),
      ),
    },
    {
      title: "vLLM test_causal_conv1d_varlen",
      table: cases<ConvVarlenRow>(
        { ...base, dtype: "bf16", stateDtype: "bf16", tolerance: vllmTolerance.bf16, initial: "some" },
        vllmVarlen,
      ),
    },
    { title: "TensorRT-LLM causal_conv1d context", table: cases<ConvVarlenRow>(base, inEachType(trt, trtTolerance)) },
    {
      // Channels are independent: 64 of the published 5376, for they cost only memory.
      title: "TensorRT-LLM causal_conv1d, 131072 tokens",
      table: cases<ConvVarlenRow>(
        { ...base, lengths: [131072], dim: 64, blockSize: 64 },
        inEachType([{}], trtTolerance),
      ),
    },
    { title: "causal-conv1d test_causal_conv1d", table: cases<ConvVarlenRow>(base, inEachType(dao, vllmTolerance)) },
    {
      title: "causal-conv1d test_causal_conv1d_update, seqlen 4 and 5",
      table: cases<ConvVarlenRow>({ ...base, initial: "all" }, inEachType(daoUpdate, vllmTolerance)),
    },
    {
      title: "causal-conv1d test_causal_conv1d_varlen_states",
      table: cases<ConvVarlenRow>(
        {
          ...base,
          initial: "none",
          slotsInPool: 100,
          dim: 4128,
          lengths: Array.from({ length: 100 }, () => rng.integer(1, 31)),
        },
        inEachType(daoStates, vllmTolerance),
      ),
    },
  ];
}
