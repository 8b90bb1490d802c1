import type { LanguageModel } from "../llm/types";
import { Rng } from "./serve/random";

/** Whole numbers, both ends included. */
export interface Range {
  readonly least: number;
  readonly most: number;
}

export interface ThroughputRequest {
  readonly prompt: readonly number[];
  readonly outputTokens: number;
}

/** With the keys of `vllm bench throughput`, and a line of ours for each kind of token. */
export interface ThroughputResult {
  /** Seconds from submitting all requests until the last answer was complete. */
  readonly elapsed_time: number;
  readonly num_requests: number;
  /** Tokens of prompts and answers. */
  readonly total_num_tokens: number;
  readonly requests_per_second: number;
  readonly tokens_per_second: number;
  readonly total_num_prompt_tokens: number;
  readonly total_num_output_tokens: number;
  readonly output_tokens_per_second: number;
}

/** Requests of random length and content; the same for the same seed. */
export function randomRequests(
  count: number,
  { inputLen, outputLen, vocabSize, seed }: { inputLen: Range; outputLen: Range; vocabSize: number; seed: number },
): ThroughputRequest[] {
  const rng = new Rng(seed);
  const draw = ({ least, most }: Range) => rng.integer(least, most);
  return Array.from({ length: count }, () => ({
    prompt: Array.from({ length: draw(inputLen) }, () => rng.integer(0, vocabSize - 1)),
    outputTokens: draw(outputLen),
  }));
}

/** Submits all requests at once, greedy and to their full length. `onTokens` is called with each token count that comes. */
export async function measureThroughput(
  model: LanguageModel,
  requests: readonly ThroughputRequest[],
  onTokens: (count: number) => void,
): Promise<ThroughputResult> {
  const begin = performance.now();
  const counts = await Promise.all(
    requests.map(async ({ prompt, outputTokens }) => {
      let tokens = 0;
      for await (const { tokenIds } of model.generate(prompt, {
        maxTokens: outputTokens,
        ignoreEos: true,
        temperature: 0,
      })) {
        tokens += tokenIds.length;
        onTokens(tokenIds.length);
      }
      return tokens;
    }),
  );
  const seconds = (performance.now() - begin) / 1000;
  const inputs = requests.reduce((sum, { prompt }) => sum + prompt.length, 0);
  const outputs = counts.reduce((sum, count) => sum + count, 0);
  return {
    elapsed_time: seconds,
    num_requests: requests.length,
    total_num_tokens: inputs + outputs,
    requests_per_second: requests.length / seconds,
    tokens_per_second: (inputs + outputs) / seconds,
    total_num_prompt_tokens: inputs,
    total_num_output_tokens: outputs,
    output_tokens_per_second: outputs / seconds,
  };
}
