import { EngineError } from "../errors";
import { bundledGeometry, type Geometry, geometries } from "./geometries";
import { isJudged } from "./judged";
import type { Cases, KernelCase, Op } from "./kernel-case";
import { conv1dUpdateCases, conv1dVarlenCases } from "./kernels/conv1d";
import { embeddingCases } from "./kernels/embedding";
import { linearCases, rmsNormLinearCases } from "./kernels/linear";
import { maskLogitsCases } from "./kernels/mask";
import { gatedRmsNormCases, rmsNormCases } from "./kernels/norm";
import { applyPenaltiesCases, countTokensCases } from "./kernels/penalties";
import { logprobsCases, sampleCases } from "./kernels/sampling";
import { ssdChunkScanCases, ssdStateUpdateCases } from "./kernels/ssd";

const casesOf: Readonly<Record<Op, Cases>> = {
  causal_conv1d_update: conv1dUpdateCases,
  causal_conv1d_varlen: conv1dVarlenCases,
  ssd_state_update: ssdStateUpdateCases,
  ssd_chunk_scan: ssdChunkScanCases,
  rms_norm: rmsNormCases,
  gated_rms_norm: gatedRmsNormCases,
  linear: linearCases,
  rms_norm_linear: rmsNormLinearCases,
  embedding: embeddingCases,
  count_tokens: countTokensCases,
  apply_penalties: applyPenaltiesCases,
  mask_logits: maskLogitsCases,
  sample: sampleCases,
  logprobs: logprobsCases,
};

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
  const chosen = models === undefined ? geometries : models.map(geometryOf);
  return (Object.keys(casesOf) as Op[])
    .filter((op) => ops === undefined || ops.includes(op))
    .flatMap((op) => shared(chosen.flatMap(casesOf[op])))
    .filter((one) => one.tokens <= maxTokens && (!judged || isJudged(one)));
}

export const geometryNames: readonly string[] = [...geometries, bundledGeometry].map(({ model }) => model);

function geometryOf(name: string): Geometry {
  const found = [...geometries, bundledGeometry].find(({ model }) => model === name);
  if (found !== undefined) return found;
  throw new EngineError("ERR_ARGUMENT", `model must be one of ${geometryNames.join(", ")}, got ${name}`, {
    subject: "model",
  });
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
