import { randomBytes } from "node:crypto";
import {
  type EngineRequest,
  MAX_LOGIT_BIAS,
  MAX_TOP_LOGPROBS,
  type Penalties,
  type Sampling,
} from "../engine/policy/request";
import { EngineError } from "../errors";
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
  readonly rules: Pick<EngineRequest, "logitBias" | "minTokens" | "constraint">;
}

const MAX_STOPS = 16;
/** A smaller repetition penalty counts as this one: dividing a logit by it could overflow. */
const SMALLEST_REPETITION = 1e-6;

/** Fills in the defaults and checks every field. Throws ERR_REQUEST naming the field, what was expected and what came. */
export function resolveParams(params: GenerateParams, defaults: SamplingDefaults): ResolvedParams {
  const temperature = params.temperature ?? defaults.temperature ?? 1;
  const topK = params.topK ?? defaults.topK ?? 0;
  const topP = params.topP ?? defaults.topP ?? 1;
  const minP = params.minP ?? defaults.minP ?? 0;
  const penalties = resolvePenalties(params, defaults);
  const { maxTokens, logprobs, promptLogprobs, seed, priority = 0 } = params;
  expect("temperature", temperature, temperature >= 0 && temperature <= 100, "a number from 0 to 100");
  expect("topK", topK, Number.isInteger(topK) && topK >= -1 && topK < 2 ** 31, "a whole number, 0 for off");
  expect("topP", topP, topP > 0 && topP <= 1, "a number above 0, at most 1");
  expect("minP", minP, minP >= 0 && minP <= 1, "a number from 0 to 1");
  expect(
    "maxTokens",
    maxTokens,
    maxTokens === undefined || (Number.isInteger(maxTokens) && maxTokens >= (promptLogprobs === undefined ? 1 : 0)),
    "a whole number of at least 1, or 0 with promptLogprobs",
  );
  for (const [field, value] of Object.entries({ logprobs, promptLogprobs })) {
    const ok = value === undefined || (Number.isInteger(value) && value >= 0 && value <= MAX_TOP_LOGPROBS);
    expect(field, value, ok, `a whole number from 0 to ${MAX_TOP_LOGPROBS}`);
  }
  expect("seed", seed, seed === undefined || typeof seed === "bigint" || Number.isSafeInteger(seed), "a whole number");
  expect("priority", priority, Number.isSafeInteger(priority), "a whole number");
  const stop = params.stop === undefined ? [] : typeof params.stop === "string" ? [params.stop] : params.stop;
  expect("stop", stop.length, stop.length <= MAX_STOPS, `at most ${MAX_STOPS} strings`);
  for (const text of stop) expect("stop", text, typeof text === "string" && text !== "", "non-empty strings");
  return {
    sampling: {
      temperature,
      topK: Math.max(topK, 0),
      topP,
      minP,
      ...(penalties === null ? {} : { penalties }),
      seed: seed === undefined ? randomSeed() : BigInt.asUintN(64, BigInt(seed)),
    },
    maxTokens: maxTokens ?? null,
    stop,
    logprobs: logprobs ?? null,
    promptLogprobs: promptLogprobs ?? null,
    priority,
    rules: resolveRules(params),
  };
}

function resolveRules({ logitBias, minTokens = 0, maxTokens = Infinity, constraint }: GenerateParams) {
  expect("minTokens", minTokens, Number.isInteger(minTokens) && minTokens >= 0, "a whole number of at least 0");
  expect("minTokens", minTokens, minTokens <= maxTokens, `at most maxTokens, which is ${maxTokens}`);
  const bias = Object.entries(logitBias ?? {}).map(([token, value]) => [Number(token), value] as const);
  expect("logitBias", bias.length, bias.length <= MAX_LOGIT_BIAS, `of at most ${MAX_LOGIT_BIAS} tokens`);
  for (const [token, value] of bias) {
    expect("logitBias", token, Number.isInteger(token) && token >= 0, "by token ids");
    expect("logitBias", value, typeof value === "number" && Math.abs(value) <= 100, "numbers from -100 to 100");
  }
  return {
    ...(bias.length === 0 ? {} : { logitBias: bias }),
    ...(minTokens === 0 ? {} : { minTokens }),
    ...(constraint === undefined ? {} : { constraint }),
  };
}

/** Null where all are off. */
function resolvePenalties(params: GenerateParams, defaults: SamplingDefaults): Penalties | null {
  const repetition = params.repetitionPenalty ?? defaults.repetitionPenalty ?? 1;
  const { presencePenalty: presence = 0, frequencyPenalty: frequency = 0 } = params;
  expect("repetitionPenalty", repetition, repetition > 0 && repetition <= 100, "a number above 0, at most 100");
  expect("presencePenalty", presence, Math.abs(presence) <= 100, "a number from -100 to 100");
  expect("frequencyPenalty", frequency, Math.abs(frequency) <= 100, "a number from -100 to 100");
  if (repetition === 1 && presence === 0 && frequency === 0) return null;
  return { repetition: Math.max(repetition, SMALLEST_REPETITION), presence, frequency };
}

function randomSeed(): bigint {
  return randomBytes(8).readBigUInt64LE();
}

function expect(field: string, value: unknown, ok: boolean, expected: string): void {
  if (ok) return;
  throw new EngineError("ERR_REQUEST", `${field} must be ${expected}, got ${String(value)}`, { subject: field });
}
