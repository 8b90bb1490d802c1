import { describeEachBackend } from "../helpers/backends";
import { cases, describePublished, product } from "../helpers/table";
import { checkGated, checkRms, type GatedRow, gatedBase, rmsBase } from "./cases/norm";
import { checkSums, sumsBase } from "./cases/norm-sums";

const rmsTable = cases(rmsBase, [
  {},
  { rows: 0 }, // no rows
  { rows: 1 }, // one row
  { rows: 300 }, // more rows than threads
  { width: 1 }, // a single channel
  { width: 17 }, // one more than a vector
  { width: 4096 }, // a large model's width
  { dtype: "bf16", outDtype: "bf16" }, // bf16 throughout
  { dtype: "bf16" }, // bf16 to f32
  { outDtype: "bf16" }, // f32 to bf16
  { residual: "f32" }, // adds the residual first
  { residual: "bf16" }, // the residual rounds
  { residual: "f32", dtype: "bf16", outDtype: "bf16" }, // bf16 activations, f32 residual: the engine's own
  { residual: "bf16", dtype: "bf16", outDtype: "bf16" }, // bf16 throughout, with residual
  { dtype: "f16", outDtype: "f16" }, // f16 throughout
  { dtype: "f16" }, // f16 to f32
  { outDtype: "f16" }, // f32 to f16
  { residual: "f16" }, // the residual rounds to f16
  { residual: "f32", dtype: "f16", outDtype: "f16" }, // f16 activations, f32 residual: the engine's own
  { residual: "f16", dtype: "f16", outDtype: "f16" }, // f16 throughout, with residual
  { residual: "f16", dtype: "bf16", outDtype: "f16" }, // both 16 bits
  { scale: 0 }, // zeros: eps keeps it finite
  { scale: 1e-4 }, // small against eps
  { scale: 1e4 }, // large
  { xPad: 31 }, // x is a slice of a wider row
  { dtype: "bf16", residual: "bf16", width: 17, xPad: 7, shift: 1 }, // nothing is aligned
  { dtype: "f16", residual: "f16", width: 17, xPad: 7, shift: 1 }, // the same in f16
  { inPlace: true }, // out is x
  { inPlace: true, dtype: "bf16", outDtype: "bf16", rows: 300, width: 4096 }, // out is x in bf16
  { inPlace: true, dtype: "f16", outDtype: "f16", width: 17, shift: 1 }, // out is x in f16, nothing is aligned
]);

const gatedTable = cases(gatedBase, [
  {},
  { rows: 0 }, // no rows
  { rows: 300 }, // more rows than threads
  { width: 1, groupSize: 1 }, // a single channel
  { width: 17, groupSize: 17 }, // one more than a vector
  { groupSize: 48 }, // two groups
  { groupSize: 3 }, // groups smaller than a vector
  { groupSize: 1 }, // each channel its own group
  { width: 4096, groupSize: 512 }, // a large model's groups
  { dtype: "bf16" }, // bf16
  { dtype: "bf16", width: 4096, groupSize: 4096 }, // long sums from bf16
  { dtype: "f16" }, // f16
  { dtype: "f16", scale: 1e4 }, // squares that are no f16
  { normBeforeGate: true }, // the gate is a factor of the norm
  { normBeforeGate: true, dtype: "bf16", width: 4096, groupSize: 128, gatePad: 160 }, // a gated delta net's heads
  { normBeforeGate: true, dtype: "bf16", width: 4096, groupSize: 128, rows: 131 }, // of many rows
  { dtype: "f16", width: 2048, groupSize: 64, rows: 131, gatePad: 8, inPlace: true }, // as many, half as wide
  { normBeforeGate: true, dtype: "f16", width: 51, groupSize: 17, gatePad: 3, shift: 1, inPlace: true },
  { scale: 0 }, // zeros: eps keeps it finite
  { scale: 1e4 }, // large
  { xPad: 31 }, // x is a slice of a wider row
  { gatePad: 160 }, // the gate is a slice of in_proj's row
  { dtype: "bf16", width: 17, groupSize: 17, xPad: 7, gatePad: 3, shift: 1 }, // nothing is aligned
  { inPlace: true }, // out is x
  { inPlace: true, dtype: "bf16", groupSize: 48 }, // out is x in bf16
  { inPlace: true, dtype: "f16", width: 17, groupSize: 17, gatePad: 3, shift: 1 }, // out is x in f16, nothing is aligned
]);

const sumsTable = cases(sumsBase, [
  {},
  { cuts: [] }, // all on one rank
  { cuts: [32, 64] }, // three ranks
  { cuts: [1, 95] }, // ranks of a single channel
  { groupSize: 32 }, // the cut is in the middle of a group
  { groupSize: 48 }, // no group is cut
  { groupSize: 3, cuts: [10, 50] }, // groups smaller than a vector
  { rows: 0 }, // no rows
  { rows: 300 }, // more rows than threads
  { width: 4096, groupSize: 4096, cuts: [1024, 2048, 3072], dtype: "bf16" }, // a large model's
  { dtype: "bf16", inPlace: true }, // out is x
  { dtype: "f16", width: 34, groupSize: 17, cuts: [9], xPad: 7 }, // nothing is aligned
  { scale: 0 }, // zeros: eps keeps it finite
  { scale: 1e4 }, // large
]);

describeEachBackend((backend) => {
  describe("squareSums and rmsNormOfSums", () => {
    test.each(sumsTable)("$name", ({ row }) => checkSums(backend, row));
  });

  describe("rmsNorm", () => {
    test.each(rmsTable)("$name", ({ row }) => checkRms(backend, row));
  });

  describe("gatedRmsNorm", () => {
    test.each(gatedTable)("$name", ({ row }) => checkGated(backend, row));
  });

  // norm_before_gate = True, LayerNorm, bias and the ungated variants of mamba_ssm's test_layernorm_gated.py do not apply.
  describePublished(
    "vLLM test_mamba_mixer2 gated norm",
    cases<GatedRow>(
      { ...gatedBase, rows: 8 * 128, width: 64, dtype: "f16", tolerance: { rtol: 1e-3, atol: 5e-3 } },
      [1, 2, 4].map((groups) => ({ groupSize: 64 / groups })),
    ),
    (row) => checkGated(backend, row),
  );
  describePublished(
    "mamba_ssm test_layernorm_gated, RMS with z",
    cases<GatedRow>(
      { ...gatedBase, rows: 16 * 1024, dtype: "f16", tolerance: { rtol: 1e-2, atol: 8e-3 } },
      product<GatedRow>({ width: [2048, 4096], groupSize: [64, 0] }).map((row) => ({
        ...row,
        groupSize: row.groupSize || row.width!,
      })),
    ),
    (row) => checkGated(backend, row),
  );
});
