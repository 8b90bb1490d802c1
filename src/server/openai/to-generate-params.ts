import type { GenerateParams } from "../../llm/types";
import { toConstraint } from "./schemas/constraint";
import type { SamplingFields } from "./schemas/sampling";

/** Below this a temperature means greedy: dividing logits by it overflows single precision. */
const smallestTemperature = 1e-5;

export const toTemperature = (temperature: number) => (temperature < smallestTemperature ? 0 : temperature);

export interface OutputFields {
  /** Undefined = the model's default. */
  readonly maxTokens: number | undefined;
  /** Tokens that the context leaves for the prompt. */
  readonly room: number;
  /** Alternatives per token; undefined = no log probabilities. */
  readonly logprobs: number | undefined;
}

/** The fields a client left out stay out, so that the model's own defaults apply. */
export function toGenerateParams(fields: SamplingFields, output: OutputFields): GenerateParams {
  const { temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty } = fields;
  const { seed, stop, stop_token_ids, ignore_eos } = fields;
  const { logit_bias, allowed_token_ids, bad_words, min_tokens, prompt_logprobs, cache_salt } = fields;
  const { include_stop_str_in_output, skip_special_tokens, truncate_prompt_tokens } = fields;
  const constraint = toConstraint(fields);
  const params: GenerateParams = {};
  if (temperature !== undefined) params.temperature = toTemperature(temperature);
  if (top_p !== undefined) params.topP = top_p;
  // -1 is the usual spelling of "off" among servers; the engine's is 0.
  if (top_k !== undefined) params.topK = Math.max(0, top_k);
  if (min_p !== undefined) params.minP = min_p;
  if (repetition_penalty !== undefined) params.repetitionPenalty = repetition_penalty;
  if (presence_penalty !== undefined) params.presencePenalty = presence_penalty;
  if (frequency_penalty !== undefined) params.frequencyPenalty = frequency_penalty;
  if (seed !== undefined) params.seed = seed;
  if (stop !== undefined && stop.length > 0) params.stop = stop;
  if (stop_token_ids !== undefined) params.stopTokenIds = stop_token_ids;
  if (ignore_eos !== undefined) params.ignoreEos = ignore_eos;
  if (include_stop_str_in_output !== undefined) params.includeStop = include_stop_str_in_output;
  if (skip_special_tokens === false) params.skipSpecialTokens = false;
  const kept = truncate_prompt_tokens === -1 ? output.room : truncate_prompt_tokens;
  if (kept !== undefined) params.truncatePrompt = Math.max(1, kept);
  if (logit_bias !== undefined) params.logitBias = logit_bias;
  if (allowed_token_ids !== undefined) params.allowedTokenIds = allowed_token_ids;
  if (bad_words !== undefined && bad_words.length > 0) params.badWords = bad_words;
  if (min_tokens !== undefined && min_tokens > 0) params.minTokens = min_tokens;
  if (constraint !== undefined) params.constraint = constraint;
  if (prompt_logprobs !== undefined) params.promptLogprobs = prompt_logprobs;
  if (cache_salt !== undefined) params.cacheSalt = cache_salt;
  if (output.maxTokens !== undefined) params.maxTokens = output.maxTokens;
  if (output.logprobs !== undefined) params.logprobs = output.logprobs;
  return params;
}
