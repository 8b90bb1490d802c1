import type { EngineRequest, Sampling } from "../../src/engine/policy/request";

export const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n };

/** A prompt of `length` tokens, all different. */
export function promptOf(length: number): number[] {
  const tokens = new Array<number>(length);
  for (let i = 0; i < length; i++) tokens[i] = 1000 + i;
  return tokens;
}

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
