/** A few cases of each op with instruction-set kernels, in one process, without jest; prints a report as JSON. */
import { Backend } from "../../helpers/backends";
import { type Case, cases } from "../../helpers/table";
import { activationBase, checkActivation, checkScale, scaleBase } from "./activation";
import { attentionBase, checkAttentionVarlen, checkPagedAttention } from "./attention";
import { checkConvUpdate, checkConvVarlen, convUpdateBase, convVarlenBase } from "./causal-conv1d";
import { checkChunk, checkUpdate, type GdnRow, gdnBase } from "./gdn";
import { checkGrouped, groupedBf16, groupedF16, groupedLinearBase } from "./grouped-linear";
import { checkLinear, linearBase, linearBf16, linearF16 } from "./linear";
import { checkCombine, combineBase } from "./moe";
import { checkGated, checkRms, gatedBase, rmsBase } from "./norm";
import { checkQuantized, quantizedBase } from "./quantized-linear";
import { checkRmsNormLinear, inProjBf16, outProjBf16, outProjF16, rmsNormLinearBase } from "./rms-norm-linear";
import { checkScan, scanBase } from "./ssd-chunk-scan";
import { checkStateUpdate, stateUpdateBase } from "./ssd-state-update";

const backend = new Backend("cpu");
let checked = 0;

/** The base row, and the changes that choose other kernels: types, ragged edges, no alignment. */
async function all<Row>(op: string, table: readonly Case<Row>[], check: (backend: Backend, row: Row) => Promise<void>) {
  for (const { name, row } of table) {
    try {
      await check(backend, row);
    } catch (error) {
      throw new Error(`${op}, ${name}: ${(error as Error).message}`, { cause: error });
    }
    backend.freeAll();
    checked++;
  }
}

async function main(): Promise<void> {
  backend.open();
  const ragged = { xPad: 7, outPad: 5, shift: 1 } as const;
  const sixteen = { dtype: "bf16", stateDtype: "bf16" } as const;
  const half = { dtype: "f16", stateDtype: "f16" } as const;
  await all(
    "linear",
    cases(linearBase, [
      {},
      { m: 1 },
      { m: 33, n: 45, k: 131, bias: true },
      { ...linearBf16 },
      { ...linearBf16, m: 1 },
      { ...linearBf16, m: 33, n: 45, k: 131, bias: true },
      { weightDtype: "bf16" },
      { dtype: "bf16" },
      { ...linearF16 },
      { ...linearF16, m: 33, n: 45, k: 131, bias: true },
      { dtype: "f16", weightDtype: "bf16" },
      { ...ragged },
      { accumulate: true, n: 45 },
      { ...linearBf16, accumulate: true, n: 45, ...ragged },
      { ...linearBf16, outDtype: "f32", accumulate: true, m: 33 },
      { ...linearF16, accumulate: true, n: 45 },
    ]),
    checkLinear,
  );
  await all(
    "linear with codes",
    cases(
      quantizedBase,
      (
        [
          { codes: "i8", group: 128 },
          { codes: "i8", group: 16 },
          { codes: "e4m3", group: 128 },
          { codes: "u4", group: 32 },
          { codes: "e2m1", group: 16 },
        ] as const
      ).flatMap((type) => [
        { ...type, m: 1 },
        { ...type, m: 33, n: 45, k: 200, dtype: "f32" as const, bias: true },
        { ...type, k: 131, group: 131, outDtype: "bf16" as const, ...ragged },
      ]),
    ),
    checkQuantized,
  );
  await all(
    "rmsNormLinear",
    cases(rmsNormLinearBase, [{}, { ...inProjBf16, m: 1 }, { ...outProjBf16, n: 45, k: 131 }, { ...outProjF16 }]),
    checkRmsNormLinear,
  );
  const pointwise = [
    {},
    { width: 17 },
    { dtype: "bf16", outDtype: "bf16" },
    { dtype: "f16", outDtype: "f16" },
  ] as const;
  await all(
    "activation",
    cases(activationBase, [
      ...pointwise,
      ...(["gelu", "geluTanh", "relu2", "sigmoid"] as const).map((activation) => ({ activation, width: 17 })),
    ]),
    checkActivation,
  );
  await all("scale", cases(scaleBase, [...pointwise, { accumulate: true, width: 17, ...ragged }]), checkScale);
  await all("moeCombine", cases(combineBase, [...pointwise, { accumulate: true, width: 17 }]), checkCombine);
  await all(
    "groupedLinear",
    cases(groupedLinearBase, [
      {},
      { tokens: 40, outputs: 90, inputs: 65, activation: "silu", gated: true },
      { ...groupedBf16, tokens: 40, outputs: 45, inputs: 131, activation: "relu2" },
      { ...groupedF16, tokens: 40, outputs: 45, inputs: 131 },
      { dtype: "bf16", ...ragged },
    ]),
    checkGrouped,
  );
  await all(
    "rmsNorm",
    cases(rmsBase, [
      {},
      { width: 17 },
      { dtype: "bf16", residual: "bf16", width: 17 },
      { dtype: "f16", residual: "f16", outDtype: "f16", width: 17 },
    ]),
    checkRms,
  );
  await all(
    "gatedRmsNorm",
    cases(gatedBase, [
      {},
      { groupSize: 3 },
      { dtype: "bf16", groupSize: 48 },
      { dtype: "f16", groupSize: 48 },
      { normBeforeGate: true, groupSize: 3 },
    ]),
    checkGated,
  );
  const conv = [
    {},
    { width: 2 },
    { width: 3, dim: 15 },
    { stateDtype: "f16" },
    { ...sixteen },
    { ...half, dim: 15 },
    { ...ragged },
  ] as const;
  await all("causalConv1dUpdate", cases(convUpdateBase, conv), checkConvUpdate);
  await all("causalConv1dVarlen", cases(convVarlenBase, conv), checkConvVarlen);
  const ssd = [
    {},
    { headDim: 64, stateSize: 128 },
    { headDim: 5, stateSize: 5 },
    { headDim: 17, stateSize: 96 },
    { stateDtype: "f16" },
    { ...sixteen },
    { ...sixteen, dtDtype: "bf16", headDim: 17 },
    { ...half, dtDtype: "f16", headDim: 17 },
    { ...ragged },
  ] as const;
  await all(
    "ssdChunkScan",
    cases(scanBase, [...ssd, { dt: "huge" }, { chunk: 24, groups: 2 }, { chunk: 128, lengths: [200] }]),
    checkScan,
  );
  await all("ssdStateUpdate", cases(stateUpdateBase, [...ssd, { z: true }, { per: "channel" }]), checkStateUpdate);
  const gdn = [
    {},
    { keyDim: 128, valueDim: 128 },
    { keyDim: 5, valueDim: 3, chunk: 24 },
    { keyDim: 33, valueDim: 17, ...sixteen, gateDtype: "bf16" },
    { ...half, gateDtype: "f16" },
    { keys: "repeated", keep: "all", write: "all", lengths: [200] },
    { ...ragged },
  ] as const;
  await all("gdnChunk", cases(gdnBase, gdn), checkChunk);
  await all(
    "gdnUpdate",
    cases<GdnRow>(
      { ...gdnBase, lengths: [2, 2, 2] },
      gdn.map((row) => ({ ...row, lengths: [2, 2, 2] })),
    ),
    checkUpdate,
  );
  const attention = [
    {},
    { dtype: "bf16", headDim: 80, pageSize: 32 },
    { dtype: "f16", e4m3: true, window: 20 },
    { headDim: 8, qPad: 7, outPad: 5, shift: 1 },
  ] as const;
  await all("attentionVarlen", cases(attentionBase, attention), checkAttentionVarlen);
  const lengths = [1, 40, 17].map((kvLen) => [1, kvLen] as const);
  await all("pagedAttention", cases({ ...attentionBase, lengths }, attention), checkPagedAttention);
  const device = backend.device.describe();
  const isa = device.kind === "cpu" ? device.isa : undefined;
  backend.close();
  process.stdout.write(JSON.stringify({ isa, checked }));
}

main().catch((error: unknown) => {
  process.stderr.write(`${(error as Error).stack}\n`);
  process.exitCode = 1;
});
