import type { ChoiceResult } from "./choices";

function meanLogprob({ logprobs }: ChoiceResult): number {
  if (logprobs === null || logprobs.length === 0) return Number.NEGATIVE_INFINITY;
  return logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / logprobs.length;
}

/**
 * The `n` likeliest per token of each `bestOf` results in a row, likeliest first; they need log probabilities then. With as many as
 * are wanted, all in their order.
 */
export function takeBest(results: readonly ChoiceResult[], bestOf: number, n: number): ChoiceResult[] {
  if (bestOf === n) return [...results];
  const kept: ChoiceResult[] = [];
  for (let start = 0; start < results.length; start += bestOf) {
    const ofPrompt = results.slice(start, start + bestOf).map((result) => ({ result, mean: meanLogprob(result) }));
    ofPrompt.sort((a, b) => b.mean - a.mean);
    kept.push(...ofPrompt.slice(0, n).map(({ result }) => result));
  }
  return kept;
}
