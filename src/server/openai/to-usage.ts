import type { Usage } from "../../llm/types";

export interface UsageBody {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  /** Guessed tokens that were right, and those that were not; absent where nothing was guessed. */
  readonly completion_tokens_details?: {
    readonly accepted_prediction_tokens: number;
    readonly rejected_prediction_tokens: number;
  };
}

export function toUsage({ promptTokens, completionTokens, cachedTokens, drafts }: Usage): UsageBody {
  const details = drafts && {
    accepted_prediction_tokens: drafts.accepted,
    rejected_prediction_tokens: drafts.proposed - drafts.accepted,
  };
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    ...(details && { completion_tokens_details: details }),
  };
}
