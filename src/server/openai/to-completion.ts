import type { PromptLogprob } from "../../llm/types";
import type { ChoiceChunk, ChoiceResult, Choices } from "./choices";
import { type FinishReasonBody, toFinishReason } from "./finish-reason";
import type { ResponseHead } from "./response-head";
import {
  type CompletionLogprobs,
  type PromptLogprobsBody,
  toCompletionLogprobs,
  toPromptLogprobs,
} from "./to-logprobs";
import { toUsage, type UsageBody } from "./to-usage";

interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: FinishReasonBody | null;
  readonly prompt_logprobs?: PromptLogprobsBody;
  /** vLLM's; only when asked for. */
  readonly token_ids?: readonly number[];
  /** In a stream on the first event of a choice. */
  readonly prompt_token_ids?: readonly number[];
}

/** The answer of /v1/completions, and each event of its stream: the two have one shape. */
export interface CompletionBody extends ResponseHead {
  readonly object: "text_completion";
  readonly choices: readonly CompletionChoice[];
  /** In streams only when asked for: null, then the numbers in a last event without choices. */
  readonly usage?: UsageBody | null;
}

export interface CompletionShape {
  readonly head: ResponseHead;
  /** Alternatives per token; undefined = no log probabilities. */
  readonly logprobs: number | undefined;
  readonly promptLogprobs: boolean;
  readonly tokenIds: boolean;
  /** Text before each choice, where the prompt is echoed; its log probabilities then come before theirs. */
  readonly echo: readonly string[] | null;
  readonly includeUsage: boolean;
  /** Usage so far in each event. */
  readonly continuousUsage: boolean;
}

const object = "text_completion";

/** Log probabilities of a choice or a chunk of it, with those of an echoed prompt before; all placed in the text with it. */
function shownTokens(
  shape: CompletionShape,
  index: number,
  { logprobs, promptLogprobs = [] }: ChoiceResult | ChoiceChunk["chunk"],
): PromptLogprob[] | null {
  if (shape.logprobs === undefined) return null;
  if (shape.echo === null) return logprobs && [...logprobs];
  if (logprobs === null && promptLogprobs.length === 0) return null;
  const before = [...shape.echo[index]!].length;
  const drawn = logprobs?.map((token) => ({ ...token, textOffset: before + token.textOffset }));
  return [...promptLogprobs, ...(drawn ?? [])];
}

export function toCompletion(
  shape: CompletionShape,
  results: readonly ChoiceResult[],
  choices: Choices,
): CompletionBody {
  const perPrompt = results.length / choices.promptCount;
  return {
    ...shape.head,
    object,
    choices: results.map((result, index) => {
      const tokens = shownTokens(shape, index, result);
      const { promptLogprobs } = result;
      return {
        index,
        text: (shape.echo?.[index] ?? "") + result.text,
        logprobs: tokens && toCompletionLogprobs(tokens, shape.logprobs!),
        finish_reason: toFinishReason(result.finishReason),
        ...(shape.tokenIds
          ? { token_ids: result.tokenIds, prompt_token_ids: choices.promptTokenIdsOf(Math.floor(index / perPrompt)) }
          : {}),
        ...(shape.promptLogprobs && promptLogprobs ? { prompt_logprobs: toPromptLogprobs(promptLogprobs) } : {}),
      };
    }),
    usage: toUsage(choices.usage),
  };
}

export async function* toCompletionEvents(shape: CompletionShape, choices: Choices): AsyncGenerator<CompletionBody> {
  const counts = new Array<number>(choices.count).fill(0);
  const texts = [...(shape.echo ?? [])];
  for await (const { index, chunk } of choices.chunks()) {
    const isFirst = counts[index] === 0;
    counts[index]! += chunk.tokenIds.length;
    const tokens = shownTokens(shape, index, chunk);
    const text = (texts[index] ?? "") + chunk.text;
    texts[index] = "";
    const choice = {
      index,
      text,
      logprobs: tokens && toCompletionLogprobs(tokens, shape.logprobs!),
      finish_reason: chunk.finishReason && toFinishReason(chunk.finishReason),
      ...(shape.tokenIds ? { token_ids: chunk.tokenIds } : {}),
      ...(shape.tokenIds && isFirst ? { prompt_token_ids: choices.promptTokenIds(index) } : {}),
    };
    const soFar = choices.usageOf(index, counts[index]!);
    const usage = shape.continuousUsage ? { usage: toUsage(soFar) } : shape.includeUsage ? { usage: null } : {};
    yield { ...shape.head, object, choices: [choice], ...usage };
  }
  if (shape.includeUsage) yield { ...shape.head, object, choices: [], usage: toUsage(choices.usage) };
}
