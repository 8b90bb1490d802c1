/** Prefill by the chunked scan, then decode by the state update: together they must be the recurrence. */
import { describeEachBackend } from "../helpers/backends";
import { toleranceOf } from "../helpers/close";
import { cases, describePublished, product } from "../helpers/table";
import { checkPrefillDecode, type PrefillDecodeRow } from "./cases/ssd-prefill-decode";

const base: PrefillDecodeRow = {
  prefill: 37,
  decode: 8,
  heads: 4,
  headDim: 16,
  groups: 2,
  stateSize: 32,
  chunk: 16,
  dtype: "f32",
  stateDtype: "f32",
  tolerance: toleranceOf("f32"),
};

const table = cases(base, [
  {},
  { prefill: 1 }, // one token, then decode
  { prefill: 32 }, // decode starts a new chunk
  { decode: 40 }, // decode longer than a chunk
  { stateDtype: "bf16", tolerance: toleranceOf("bf16") }, // the state rounds after each token
  { stateDtype: "f16", tolerance: toleranceOf("f16") }, // the state rounds less
  { dtype: "bf16", tolerance: toleranceOf("bf16") }, // inputs in bf16
  { dtype: "f16", tolerance: toleranceOf("f16") }, // inputs in f16
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkPrefillDecode(backend, row));

  // vLLM's precisions (state, activations).
  const precisions = [
    { stateDtype: "f32", dtype: "f32", tolerance: { rtol: 1e-2, atol: 3e-2 } },
    { stateDtype: "f16", dtype: "f32", tolerance: { rtol: 6e-2, atol: 1e-1 } },
    { stateDtype: "f16", dtype: "f16", tolerance: { rtol: 6e-2, atol: 1e-1 } },
    { stateDtype: "f32", dtype: "bf16", tolerance: { rtol: 6e-2, atol: 1e-1 } },
    { stateDtype: "bf16", dtype: "bf16", tolerance: { rtol: 6e-2, atol: 1e-1 } },
    { stateDtype: "f16", dtype: "bf16", tolerance: { rtol: 6e-2, atol: 1e-1 } },
  ] as const;
  const geometries = [
    { heads: 8, headDim: 64, stateSize: 64, groups: 2 },
    { heads: 96, headDim: 80, stateSize: 128, groups: 8 }, // Nemotron Nano 4B
  ];
  describePublished(
    "vLLM test_replayssm_prefill_decode_equivalence_mamba2",
    cases(
      { ...base, prefill: 100, decode: 28, chunk: 64 },
      product<{ p: (typeof precisions)[number]; g: (typeof geometries)[number] }>({
        p: precisions,
        g: geometries,
      }).map(({ p, g }) => ({ ...p!, ...g! })),
    ),
    (row) => checkPrefillDecode(backend, row),
  );
});
