import type { LanguageModel } from "../llm/types";
import { Rng } from "./serve/random";
import { deviation, mean, percentile } from "./serve/statistics";

export interface LatencyOptions {
  /** Tokens of each prompt, and new ones. */
  readonly inputLen: number;
  readonly outputLen: number;
  /** Requests that are submitted together. */
  readonly batchSize: number;
  readonly numItersWarmup: number;
  readonly numIters: number;
}

/** In seconds, with the keys of `vllm bench latency`. */
export interface LatencyResult {
  readonly avg_latency: number;
  readonly std_latency: number;
  /** One for each iteration: from submitting a batch until its last answer was complete. */
  readonly latencies: readonly number[];
  readonly percentiles: Readonly<Record<string, number>>;
}

export const latencyPercents = [10, 25, 50, 75, 90, 99] as const;
/** Prompts hold ids below this, as vLLM's do. */
const MAX_PROMPT_ID = 10_000;

/** Times batches of equal requests, one batch after the other; warm-ups come first and are not counted. */
export async function measureLatency(
  model: LanguageModel,
  { inputLen, outputLen, batchSize, numItersWarmup, numIters }: LatencyOptions,
  onIteration: (iteration: number) => void,
): Promise<LatencyResult> {
  const rng = new Rng(0);
  const highest = Math.min(MAX_PROMPT_ID, model.info.vocabSize) - 1;
  const prompts = Array.from({ length: batchSize }, () =>
    Array.from({ length: inputLen }, () => rng.integer(0, highest)),
  );
  const latencies: number[] = [];
  for (let i = 0; i < numItersWarmup + numIters; i++) {
    onIteration(i);
    const begin = performance.now();
    await Promise.all(
      prompts.map((prompt, seed) =>
        model.generate(prompt, { maxTokens: outputLen, ignoreEos: true, temperature: 1, seed }),
      ),
    );
    if (i >= numItersWarmup) latencies.push((performance.now() - begin) / 1000);
  }
  return {
    avg_latency: mean(latencies),
    std_latency: deviation(latencies),
    latencies,
    percentiles: Object.fromEntries(latencyPercents.map((percent) => [percent, percentile(latencies, percent)])),
  };
}
