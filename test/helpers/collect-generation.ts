import type { FinishReason } from "../../src/engine/policy/request";
import type { GenerationChunk, GenerationResult, TokenLogprob } from "../../src/llm/types";

/** The whole of a generation from its chunks. */
export async function collectGeneration(
  chunks: AsyncIterable<GenerationChunk>,
  promptTokens: number,
): Promise<GenerationResult> {
  const tokenIds: number[] = [];
  let logprobs: TokenLogprob[] | null = null;
  let [text, finishReason]: [string, FinishReason] = ["", "abort"];
  for await (const chunk of chunks) {
    text += chunk.text;
    tokenIds.push(...chunk.tokenIds);
    if (chunk.logprobs !== null) logprobs = [...(logprobs ?? []), ...chunk.logprobs];
    finishReason = chunk.finishReason ?? finishReason;
  }
  return {
    text,
    tokenIds,
    logprobs,
    finishReason,
    usage: { promptTokens, completionTokens: tokenIds.length, cachedTokens: 0 },
  };
}
