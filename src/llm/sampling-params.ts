import { randomBytes } from "node:crypto";
import type { EngineRequest, Penalties, Sampling } from "../engine/policy/request";
import { checkParams, mustBe } from "./param-rules";
import type { GenerateParams } from "./types";

/** What the model's authors recommend; see generation_config.json. */
export type SamplingDefaults = Pick<GenerateParams, "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty">;

export interface ResolvedParams {
  readonly sampling: Sampling;
  readonly maxTokens: number | null;
  readonly stop: readonly string[];
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  readonly priority: number;
  /** Absent where off. */
  readonly rules: Pick<EngineRequest, "logitBias" | "minTokens" | "allowedTokenIds" | "constraint" | "cacheSalt">;
}

/** A smaller repetition penalty counts as this one: dividing a logit by it could overflow. */
const SMALLEST_REPETITION = 1e-6;

/** Fills in the defaults and checks every field. Throws ERR_REQUEST naming the field, what was expected and what came. */
export function resolveParams(params: GenerateParams, defaults: SamplingDefaults): ResolvedParams {
  checkParams(params);
  const penalties = resolvePenalties(params, defaults);
  const { maxTokens, promptLogprobs, seed, stop = [] } = params;
  if (maxTokens === 0 && promptLogprobs === undefined) {
    throw mustBe("maxTokens", "a whole number of at least 1, or 0 with promptLogprobs", maxTokens);
  }
  return {
    sampling: {
      temperature: params.temperature ?? defaults.temperature ?? 1,
      topK: Math.max(params.topK ?? defaults.topK ?? 0, 0),
      topP: params.topP ?? defaults.topP ?? 1,
      minP: params.minP ?? defaults.minP ?? 0,
      ...(penalties === null ? {} : { penalties }),
      seed: seed === undefined ? randomSeed() : BigInt.asUintN(64, BigInt(seed)),
    },
    maxTokens: maxTokens ?? null,
    stop: typeof stop === "string" ? [stop] : stop,
    logprobs: params.logprobs ?? null,
    promptLogprobs: promptLogprobs ?? null,
    priority: params.priority ?? 0,
    rules: resolveRules(params),
  };
}

function resolveRules(params: GenerateParams): ResolvedParams["rules"] {
  const { logitBias = {}, minTokens = 0, maxTokens = Infinity, allowedTokenIds, constraint, cacheSalt } = params;
  if (minTokens > maxTokens) throw mustBe("minTokens", `at most maxTokens, which is ${maxTokens}`, minTokens);
  if (allowedTokenIds !== undefined && constraint !== undefined) {
    throw mustBe("allowedTokenIds", "left out beside a constraint", allowedTokenIds);
  }
  const bias = Object.entries(logitBias).map(([token, value]) => [Number(token), value] as const);
  return {
    ...(bias.length === 0 ? {} : { logitBias: bias }),
    ...(minTokens === 0 ? {} : { minTokens }),
    ...(allowedTokenIds === undefined ? {} : { allowedTokenIds }),
    ...(constraint === undefined ? {} : { constraint }),
    ...(cacheSalt === undefined ? {} : { cacheSalt }),
  };
}

/** Null where all are off. */
function resolvePenalties(params: GenerateParams, defaults: SamplingDefaults): Penalties | null {
  const repetition = params.repetitionPenalty ?? defaults.repetitionPenalty ?? 1;
  const { presencePenalty: presence = 0, frequencyPenalty: frequency = 0 } = params;
  if (repetition === 1 && presence === 0 && frequency === 0) return null;
  return { repetition: Math.max(repetition, SMALLEST_REPETITION), presence, frequency };
}

function randomSeed(): bigint {
  return randomBytes(8).readBigUInt64LE();
}
