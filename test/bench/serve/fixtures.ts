import type { RequestOutcome } from "../../../src/bench/serve/client";
import { type ReportOptions, type RunDescription, ServeResult } from "../../../src/bench/serve/result";

const outcome: RequestOutcome = {
  ...{ success: true, startTime: 5, queueTime: 0.25, ttft: 0.5, itls: [0.25, 0.25], latency: 1 },
  ...{ promptTokens: 10, outputTokens: 3, cachedTokens: 4, text: "abc", error: "" },
};
const failed: RequestOutcome = { ...outcome, success: false, ttft: 0, itls: [], latency: 0, error: "HTTP 500" };

/** A run of 2 s with one request that went well and one that failed. */
export function resultOf(description: Partial<RunDescription> = {}, options: Partial<ReportOptions> = {}): ServeResult {
  return new ServeResult(
    {
      ...{ backend: "openai", model: "org/model", tokenizer: null, numPrompts: 2, requestRate: 4, burstiness: 1 },
      ...{ maxConcurrency: null, rampUp: null, metadata: {} },
      ...description,
    },
    { outcomes: [outcome, failed], duration: 2, loopDelayP99Ms: 0.1 },
    [10, 10],
    { goodput: null, percentileMetrics: ["ttft", "tpot", "itl"], percentiles: [99], detailed: false, ...options },
  );
}
