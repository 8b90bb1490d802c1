import type { EngineRequest, Sampling } from "../../src/engine/policy/request";

export const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n };

/** A prompt of `length` tokens, all different. */
export const promptOf = (length: number): number[] => Array.from({ length }, (_, i) => 1000 + i);

export function makeRequest(fields: Partial<EngineRequest> = {}): EngineRequest {
  return {
    id: "request",
    prompt: [1, 2, 3],
    maxTokens: 16,
    stopTokenIds: new Set(),
    sampling: greedy,
    logprobs: null,
    priority: 0,
    ...fields,
  };
}
