import { EngineError } from "../errors";
import {
  attentionLayers,
  bundledGeometry,
  deltaLayers,
  expertsLayers,
  geometries,
  type Layer,
  mlpLayers,
} from "./geometries";
import { isJudged } from "./judged";
import type { CasesOf, KernelCase, Op } from "./kernel-case";
import { activationCases } from "./kernels/activation";
import { attentionVarlenCases, pagedAttentionCases, ropeStoreKvCases } from "./kernels/attention";
import { conv1dUpdateCases, conv1dVarlenCases } from "./kernels/conv1d";
import { embeddingCases } from "./kernels/embedding";
import { gdnChunkCases, gdnUpdateCases } from "./kernels/gdn";
import { linearCases, rmsNormLinearCases } from "./kernels/linear";
import { maskLogitsCases } from "./kernels/mask";
import { groupedLinearCases, moeCombineCases, routeCases, sortByExpertCases } from "./kernels/moe";
import { gatedRmsNormCases, normBeforeGateCases, rmsNormCases } from "./kernels/norm";
import { applyPenaltiesCases, countTokensCases } from "./kernels/penalties";
import { logprobsCases, sampleCases } from "./kernels/sampling";
import { copySlotsCases } from "./kernels/slots";
import { ssdChunkScanCases, ssdStateUpdateCases } from "./kernels/ssd";

/** What the cases of an op are made from, and how. */
interface OpCases {
  readonly models: readonly string[];
  of(model: string): readonly KernelCase[];
}

function over<Sizes extends Layer>(layers: readonly Sizes[], cases: CasesOf<Sizes>): OpCases {
  return {
    models: layers.map(({ model }) => model),
    of: (model) => layers.filter((layer) => layer.model === model).flatMap(cases),
  };
}

const both = (a: OpCases, b: OpCases): OpCases => ({
  models: [...a.models, ...b.models],
  of: (model) => [...a.of(model), ...b.of(model)],
});

const mambaLayers = [...geometries, bundledGeometry];

const casesOf: Readonly<Record<Op, OpCases>> = {
  causal_conv1d_update: over(mambaLayers, conv1dUpdateCases),
  causal_conv1d_varlen: over(mambaLayers, conv1dVarlenCases),
  ssd_state_update: over(mambaLayers, ssdStateUpdateCases),
  ssd_chunk_scan: over(mambaLayers, ssdChunkScanCases),
  rms_norm: over(mambaLayers, rmsNormCases),
  gated_rms_norm: both(over(mambaLayers, gatedRmsNormCases), over(deltaLayers, normBeforeGateCases)),
  linear: over(mambaLayers, linearCases),
  rms_norm_linear: over(mambaLayers, rmsNormLinearCases),
  embedding: over(mambaLayers, embeddingCases),
  count_tokens: over(mambaLayers, countTokensCases),
  apply_penalties: over(mambaLayers, applyPenaltiesCases),
  mask_logits: over(mambaLayers, maskLogitsCases),
  sample: over(mambaLayers, sampleCases),
  logprobs: over(mambaLayers, logprobsCases),
  rope_store_kv: over(attentionLayers, ropeStoreKvCases),
  attention_varlen: over(attentionLayers, attentionVarlenCases),
  paged_attention: over(attentionLayers, pagedAttentionCases),
  route: over(expertsLayers, routeCases),
  sort_by_expert: over(expertsLayers, sortByExpertCases),
  grouped_linear: over(expertsLayers, groupedLinearCases),
  moe_combine: over(expertsLayers, moeCombineCases),
  activation: over(mlpLayers, activationCases),
  gdn_update: over(deltaLayers, gdnUpdateCases),
  gdn_chunk: over(deltaLayers, gdnChunkCases),
  copy_slots: over(deltaLayers, copySlotsCases),
};

/** Every model that some op is timed with. */
export const geometryNames: readonly string[] = [...new Set(Object.values(casesOf).flatMap(({ models }) => models))];
const usualNames = geometryNames.filter((name) => name !== bundledGeometry.model);

export interface Selection {
  /** Names of geometries; all published ones where it is missing. */
  readonly models?: readonly string[] | undefined;
  readonly ops?: readonly Op[] | undefined;
  /** Only the cases that the project's goals are about. */
  readonly judged?: boolean | undefined;
  /** Leaves out cases with more rows. */
  readonly maxTokens?: number | undefined;
}

/** A case and every model that has it. */
export interface SharedCase extends KernelCase {
  readonly models: readonly string[];
}

/** The cases op by op. A case that several models have is there once. Throws ERR_ARGUMENT for an unknown model. */
export function kernelCases({ models, ops, judged = false, maxTokens = Infinity }: Selection = {}): SharedCase[] {
  const unknown = models?.find((name) => !geometryNames.includes(name));
  if (unknown !== undefined) {
    const message = `model must be one of ${geometryNames.join(", ")}, got ${unknown}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "model" });
  }
  return (Object.keys(casesOf) as Op[])
    .filter((op) => ops === undefined || ops.includes(op))
    .flatMap((op) => shared((models ?? usualNames).flatMap(casesOf[op].of)))
    .filter((one) => one.tokens <= maxTokens && (!judged || isJudged(one)));
}

function shared(cases: readonly KernelCase[]): SharedCase[] {
  const byName = new Map<string, SharedCase>();
  for (const one of cases) {
    const { model } = one.geometry;
    const same = byName.get(one.name);
    byName.set(one.name, same ? { ...same, models: [...same.models, model] } : { ...one, models: [model] });
  }
  return [...byName.values()];
}
