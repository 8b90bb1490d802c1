/**
 * The chunked-scan tables of vLLM (tests/kernels/mamba/test_mamba_ssm_ssd.py), TensorRT-LLM (test_mamba2_chunk_ss_update.py)
 * and state-spaces/mamba (tests/ops/triton/test_ssd.py).
 *
 * What does not apply here: the gate z (our mixer gates in its norm), backward passes, TensorRT-LLM's physical chunks
 * (chunks never cross a sequence). vLLM and TensorRT-LLM compare one head of the output; here all heads are compared,
 * except where `checkedHeads` says which.
 */
import type { FloatDType } from "../../helpers/bits";
import type { Tolerance } from "../../helpers/close";
import { Rng } from "../../helpers/rng";
import { type Case, cases, product } from "../../helpers/table";
import type { ScanRow } from "../cases/ssd-chunk-scan";
import type { Table } from "./causal-conv1d";

const floats = ["f32", "f16", "bf16"] as const;
const vllmTolerance: Record<FloatDType, Tolerance> = {
  f32: { rtol: 5e-3, atol: 8e-3 },
  f16: { rtol: 5e-3, atol: 8e-3 },
  bf16: { rtol: 5e-2, atol: 5e-2 },
};
const trtTolerance: Record<FloatDType, Tolerance> = {
  f32: { rtol: 1e-2, atol: 1e-2 },
  f16: { rtol: 1e-2, atol: 2e-2 },
  bf16: { rtol: 1e-2, atol: 1e-1 },
};

/** vLLM's inputs: dt is softplus-ed beforehand, nothing is added, B and C for each head. */
function vllmBase(base: ScanRow): ScanRow {
  return { ...base, d: false, dtBias: false, dtSoftplus: false };
}

function square(heads: number, headDim: number): Partial<ScanRow> {
  return { heads, groups: heads, headDim, stateSize: headDim };
}

export function scanTables(base: ScanRow): Table<ScanRow>[] {
  const rng = new Rng(0);
  const singles = product<{ dtype: FloatDType; heads: number; headDim: number; plan: readonly [number, number] }>({
    dtype: floats,
    heads: [4, 16, 32],
    headDim: [5, 8, 32, 128],
    plan: [
      [112, 16],
      [128, 32],
    ],
  }).map(
    ({ dtype, heads, headDim, plan }): Partial<ScanRow> => ({
      dtype: dtype!,
      ...square(heads!, headDim!),
      lengths: [plan![0]],
      chunk: plan![1],
      tolerance: vllmTolerance[dtype!],
    }),
  );
  const trt = product<ScanRow & { dim: number; tokens: number }>({
    dtype: floats,
    dim: [1024, 2048],
    headDim: [32, 64, 128, 256],
    groups: [1, 4],
    stateSize: [64, 96, 128, 256],
    tokens: [16, 512],
  }).map(({ dim, tokens, ...row }): Partial<ScanRow> => {
    const heads = dim! / row.headDim!;
    const checkedHeads = [0, heads - 1]; // of the first group and of the last
    return { ...row, heads, checkedHeads, lengths: [tokens!, tokens!], tolerance: trtTolerance[row.dtype!] };
  });
  const long = [16384, 131072].flatMap((tokens) =>
    floats.map((dtype): Partial<ScanRow> => ({ dtype, lengths: [tokens], tolerance: trtTolerance[dtype] })),
  );
  const states = product<ScanRow>({ dtype: floats, groups: [1, 2, 8, 16], chunk: [64, 128] });
  return [
    {
      title: "vLLM test_mamba_chunk_scan_single_example",
      table: cases<ScanRow>({ ...vllmBase(base), initial: "none" }, singles),
    },
    {
      title: "TensorRT-LLM test_mamba2_chunk_scan",
      table: cases<ScanRow>({ ...base, chunk: 256, initial: "none" }, trt),
    },
    {
      title: "TensorRT-LLM test_mamba2_chunk_scan, 5120 channels",
      table: cases<ScanRow>(
        { ...base, chunk: 256, heads: 80, headDim: 64, stateSize: 128, lengths: [512], initial: "none" },
        product<ScanRow>({ dtype: floats, groups: [1, 4] }).map((row) => ({
          ...row,
          tolerance: trtTolerance[row.dtype!],
        })),
      ),
    },
    {
      title: "TensorRT-LLM test_mamba2_chunk_scan, long",
      table: cases<ScanRow>(
        { ...base, chunk: 256, heads: 16, headDim: 64, stateSize: 128, checkedHeads: [3], initial: "none" },
        long,
      ),
    },
    {
      // Heads are independent: 16 of the published 64, for they cost only time.
      title: "mamba_ssm test_chunk_state_varlen, 300 sequences of 1 to 199 tokens",
      table: cases<ScanRow>(
        {
          ...base,
          initial: "none",
          lengths: Array.from({ length: 300 }, () => rng.integer(1, 199)),
          slotsInPool: 300,
          heads: 16,
          headDim: 64,
          stateSize: 32,
          checkedHeads: [0, 7, 15],
        },
        states,
      ),
    },
  ];
}

export interface ContinuousBatch {
  readonly row: ScanRow;
  readonly seqlen: number; // tokens after which an example starts over
  readonly steps: readonly (readonly number[])[]; // tokens fed to each example
}

export function continuousBatches(base: ScanRow): Case<ContinuousBatch>[] {
  const times = (count: number, step: readonly number[]) => new Array<readonly number[]>(count).fill(step);
  const plans: (Omit<ContinuousBatch, "row"> & { chunk: number })[] = [
    { seqlen: 64, chunk: 8, steps: times(2, [64, 32]) },
    { seqlen: 64, chunk: 8, steps: times(3, [8, 8]) },
    { seqlen: 64, chunk: 8, steps: times(4, [4, 4]) },
    { seqlen: 64, chunk: 8, steps: times(1, [64, 32, 16, 8, 8]) },
    { seqlen: 64, chunk: 256, steps: [[5], [1], [1], [1]] },
    { seqlen: 64, chunk: 256, steps: [[5, 30], ...times(3, [1, 2])] },
    { seqlen: 768, chunk: 128, steps: times(2, [138, 225]) },
  ];
  const shapes = product<{ heads: number; headDim: number }>({ heads: [4, 8], headDim: [5, 16, 32] });
  return shapes.flatMap(({ heads, headDim }) =>
    plans.map(({ chunk, seqlen, steps }) => {
      const tolerance = { rtol: 5e-3, atol: seqlen > 256 ? 1e-2 : 5e-3 };
      const row = { ...vllmBase(base), ...square(heads!, headDim!), chunk, tolerance };
      const name = `heads ${heads}, headDim ${headDim}, chunk ${chunk}, steps ${JSON.stringify(steps)}`;
      return { name, row: { row, seqlen, steps } };
    }),
  );
}

export function chunkedPrefills(base: ScanRow): Case<ScanRow>[] {
  const vllm = product<ScanRow>({
    chunk: [8, 256],
    lengths: [
      [16, 20],
      [270, 88, 212, 203],
    ],
  }).map((row) => ({ ...row, tolerance: { rtol: 5e-3, atol: Math.max(...row.lengths!) > 256 ? 1e-2 : 5e-3 } }));
  const trt = product<ScanRow>({
    chunk: [8, 256],
    lengths: [
      [16, 2, 8, 13],
      [270, 88, 212, 203],
      [16, 20],
    ],
  });
  return [
    ...cases<ScanRow>({ ...vllmBase(base), ...square(16, 64), initial: "none" }, vllm),
    ...cases<ScanRow>(
      { ...base, heads: 16, headDim: 64, stateSize: 128, initial: "none", tolerance: { rtol: 1e-2, atol: 5e-3 } },
      trt,
    ),
  ];
}
