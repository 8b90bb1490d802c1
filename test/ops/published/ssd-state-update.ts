/**
 * The selective-state-update tables of vLLM (tests/kernels/mamba/test_mamba_ssm.py), state-spaces/mamba
 * (tests/ops/triton/test_selective_state_update.py) and FlashInfer (tests/mamba/test_selective_state_update_stp.py).
 *
 * What does not apply here: int16 states, stochastic rounding, speculative decoding (num_accepted_tokens, destinations
 * apart from the source slot). B, C and D are f32 in the suites; B and C take x's type here. Several tokens per row
 * (varlen, max_seq_len) are several calls on the same slots.
 */
import type { FloatDType } from "../../helpers/bits";
import type { Tolerance } from "../../helpers/close";
import { Rng } from "../../helpers/rng";
import { cases, product } from "../../helpers/table";
import type { UpdateRow } from "../cases/ssd-state-update";
import type { Table } from "./causal-conv1d";

type Tolerances = Record<FloatDType, Tolerance>;

const bools = [false, true];
const f32 = { rtol: 3e-4, atol: 1e-3 };
const f16 = { rtol: 5e-3, atol: 1e-2 };
const plain: Tolerances = { f32, f16, bf16: { rtol: 1e-2, atol: 5e-2 } };
const several: Tolerances = { f32, f16, bf16: { rtol: 5e-2, atol: 1.5e-1 } };
const gathered: Tolerances = { f32, f16, bf16: { rtol: 1e-1, atol: 1e-1 } };
const inHeads: Tolerances = { f32, f16: { rtol: 5e-3, atol: 3e-2 }, bf16: { rtol: 1e-1, atol: 1e-1 } };

/** Every row with x, z, dt and state in each type. */
function inEachType(rows: readonly Partial<UpdateRow>[], tolerance: Tolerances): Partial<UpdateRow>[] {
  return (["f32", "f16", "bf16"] as const).flatMap((dtype) =>
    rows.map((row) => ({ ...row, dtype, dtDtype: dtype, stateDtype: dtype, tolerance: tolerance[dtype] })),
  );
}

/** Mamba-1's shape: one head as wide as the model, everything per channel. */
function mamba1(stateSizes: readonly number[], dims: readonly number[], z: readonly boolean[] = bools) {
  return product<UpdateRow>({ z, stateSize: stateSizes, headDim: dims }).map(
    (row): Partial<UpdateRow> => ({ ...row, heads: 1, per: "channel" }),
  );
}

/** Mamba-2's: heads of 64 channels. tie_hdim = one decay for each head. */
function withHeads(groups: readonly number[], z: readonly boolean[] = bools): Partial<UpdateRow>[] {
  return product<UpdateRow>({
    z,
    per: ["channel", "expanded"],
    groups,
    stateSize: [16, 64],
    heads: [2048 / 64, 4096 / 64],
  }).map((row) => ({ ...row, headDim: 64 }));
}

export function updateTables(base: UpdateRow): Table<UpdateRow>[] {
  const rng = new Rng(0);
  const dims = [2048, 2064, 4096];
  const varlen = [1, 2, 4].flatMap((longest) => {
    const lengths = Array.from({ length: 4 }, () => rng.integer(1, longest));
    return mamba1([16, 64], dims).map((row) => ({ ...row, lengths }));
  });
  const flashInfer: UpdateRow = {
    ...base,
    rows: 64,
    slotsInPool: 70,
    heads: 64,
    headDim: 64,
    groups: 8,
    stateSize: 128,
    dtype: "bf16",
    stateDtype: "bf16",
    tolerance: { rtol: 1e-2, atol: 5e-2 }, // the suite's atol 1e-3 is of a comparison between two bf16 kernels
  };
  return [
    {
      title: "vLLM test_selective_state_update",
      table: cases<UpdateRow>({ ...base, rows: 1 }, inEachType(mamba1([16, 64], dims), plain)),
    },
    {
      title: "vLLM test_selective_state_update_varlen",
      table: cases<UpdateRow>({ ...base, rows: 4 }, inEachType(varlen, several)),
    },
    {
      title: "vLLM test_selective_state_update_with_batch_indices",
      table: cases<UpdateRow>({ ...base, slotsInPool: 30 }, inEachType(mamba1([16, 64], dims, [true]), gathered)),
    },
    {
      title: "vLLM test_selective_state_update_with_batch_indices, padding",
      table: cases<UpdateRow>(
        { ...base, rows: 8, padding: [3, 4, 5, 6, 7], slotsInPool: 30 },
        inEachType(mamba1([16, 64], dims, [true]), gathered),
      ),
    },
    {
      title: "vLLM test_selective_state_update_with_heads_with_batch_indices",
      table: cases<UpdateRow>({ ...base, slotsInPool: 30 }, inEachType(withHeads([1, 4]), inHeads)),
    },
    {
      title: "mamba_ssm test_selective_state_update",
      table: cases<UpdateRow>({ ...base, rows: 2 }, inEachType(mamba1([16, 32, 64], dims), plain)),
    },
    {
      title: "mamba_ssm test_selective_state_update_with_heads",
      table: cases<UpdateRow>({ ...base, rows: 2 }, inEachType(withHeads([1, 2, 4]), inHeads)),
    },
    {
      title: "FlashInfer selective_state_update",
      table: cases<UpdateRow>(flashInfer, [
        {},
        { rows: 1 }, // one row
        { heads: 8 }, // few heads
        { headDim: 128 }, // wider heads
        { stateSize: 64 }, // smaller state
        { stateSize: 96 }, // no power of two
        { stateSize: 256 }, // larger state
        { stateDtype: "f32" }, // state in f32
        { stateDtype: "f16" }, // state in f16
        { groups: 1 }, // one B and C for all heads
        { z: true }, // gated output
      ]),
    },
    {
      title: "FlashInfer selective_state_update, varlen",
      table: cases<UpdateRow>(
        flashInfer,
        [
          [1, 1],
          [1, 4],
          [4, 1],
          [4, 2],
          [4, 4],
          [16, 2],
          [16, 4],
        ].map(([rows, longest]) => ({
          rows: rows!,
          lengths: Array.from({ length: rows! }, () => rng.integer(1, longest!)),
        })),
      ),
    },
  ];
}
