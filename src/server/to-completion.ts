import type { ChoiceResult, Choices } from "./choices";
import { type FinishReasonBody, toFinishReason } from "./finish-reason";
import type { ResponseHead } from "./response-head";
import { type CompletionLogprobs, logprobCharacters, toCompletionLogprobs } from "./to-logprobs";
import { toUsage, type UsageBody } from "./to-usage";

interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: FinishReasonBody | null;
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
  readonly includeUsage: boolean;
}

const object = "text_completion";

export function toCompletion(
  { head, logprobs }: Pick<CompletionShape, "head" | "logprobs">,
  results: readonly ChoiceResult[],
  choices: Choices,
): CompletionBody {
  return {
    ...head,
    object,
    choices: results.map((result, index) => ({
      index,
      text: result.text,
      logprobs:
        logprobs === undefined || result.logprobs === null ? null : toCompletionLogprobs(result.logprobs, logprobs),
      finish_reason: toFinishReason(result.finishReason),
    })),
    usage: toUsage(choices.usage),
  };
}

export async function* toCompletionEvents(shape: CompletionShape, choices: Choices): AsyncGenerator<CompletionBody> {
  const usage = shape.includeUsage ? { usage: null } : {};
  const offsets = new Array<number>(choices.count).fill(0);
  for await (const { index, chunk } of choices.chunks()) {
    const tokens = shape.logprobs === undefined ? null : chunk.logprobs;
    // Tokens whose text is still withheld have nothing to show, unless their log probabilities were asked for.
    if (chunk.text === "" && chunk.finishReason === null && !tokens?.length) continue;
    const choice = {
      index,
      text: chunk.text,
      logprobs: tokens && toCompletionLogprobs(tokens, shape.logprobs!, offsets[index]),
      finish_reason: chunk.finishReason && toFinishReason(chunk.finishReason),
    };
    if (tokens) offsets[index]! += logprobCharacters(tokens);
    yield { ...shape.head, object, choices: [choice], ...usage };
  }
  if (shape.includeUsage) yield { ...shape.head, object, choices: [], usage: toUsage(choices.usage) };
}
