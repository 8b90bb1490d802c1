import type { ChoiceResult, Choices } from "./choices";
import { type FinishReasonBody, toFinishReason } from "./finish-reason";
import type { ResponseHead } from "./response-head";
import { type ChatLogprobs, toChatLogprobs } from "./to-logprobs";
import { toUsage, type UsageBody } from "./to-usage";

export interface ChatCompletionBody extends ResponseHead {
  readonly object: "chat.completion";
  readonly choices: readonly {
    readonly index: number;
    readonly message: { readonly role: "assistant"; readonly content: string; readonly refusal: null };
    readonly logprobs: ChatLogprobs | null;
    readonly finish_reason: FinishReasonBody;
  }[];
  readonly usage: UsageBody;
}

export interface ChatCompletionChunk extends ResponseHead {
  readonly object: "chat.completion.chunk";
  readonly choices: readonly {
    readonly index: number;
    readonly delta: { readonly role?: "assistant"; readonly content?: string };
    readonly logprobs: ChatLogprobs | null;
    readonly finish_reason: FinishReasonBody | null;
  }[];
  /** Only when asked for: null, then the numbers in a last event without choices. */
  readonly usage?: UsageBody | null;
}

export interface ChatShape {
  readonly head: ResponseHead;
  readonly logprobs: boolean;
  readonly includeUsage: boolean;
}

export function toChatCompletion(
  { head, logprobs }: Pick<ChatShape, "head" | "logprobs">,
  results: readonly ChoiceResult[],
  choices: Choices,
): ChatCompletionBody {
  return {
    ...head,
    object: "chat.completion",
    choices: results.map((result, index) => ({
      index,
      message: { role: "assistant", content: result.text, refusal: null },
      logprobs: logprobs && result.logprobs !== null ? toChatLogprobs(result.logprobs) : null,
      finish_reason: toFinishReason(result.finishReason),
    })),
    usage: toUsage(choices.usage),
  };
}

/** Per choice: the role first, then content, then an empty delta with the finish reason. */
export async function* toChatEvents(shape: ChatShape, choices: Choices): AsyncGenerator<ChatCompletionChunk> {
  const base = {
    ...shape.head,
    object: "chat.completion.chunk" as const,
    ...(shape.includeUsage ? { usage: null } : {}),
  };
  const started = new Array<boolean>(choices.count).fill(false);
  for await (const { index, chunk } of choices.chunks()) {
    if (!started[index]) {
      started[index] = true;
      const delta = { role: "assistant" as const, content: "" };
      yield { ...base, choices: [{ index, delta, logprobs: null, finish_reason: null }] };
    }
    const logprobs = shape.logprobs && chunk.logprobs?.length ? toChatLogprobs(chunk.logprobs) : null;
    if (chunk.text !== "" || logprobs !== null) {
      yield { ...base, choices: [{ index, delta: { content: chunk.text }, logprobs, finish_reason: null }] };
    }
    if (chunk.finishReason !== null) {
      const finish_reason = toFinishReason(chunk.finishReason);
      yield { ...base, choices: [{ index, delta: {}, logprobs: null, finish_reason }] };
    }
  }
  if (shape.includeUsage) yield { ...base, choices: [], usage: toUsage(choices.usage) };
}
