import type { ChoiceResult, Choices } from "./choices";
import { type FinishReasonBody, toFinishReason } from "./finish-reason";
import type { ResponseHead } from "./response-head";
import { type ChatLogprobs, type PromptLogprobsBody, toChatLogprobs, toPromptLogprobs } from "./to-logprobs";
import { toUsage, type UsageBody } from "./to-usage";
import { type MessageBody, type MessageDelta, MessageReader, toMessage } from "./tools/message-reader";
import { newReader, type OutputShape } from "./tools/output-shape";

export interface ChatCompletionBody extends ResponseHead {
  readonly object: "chat.completion";
  readonly choices: readonly {
    readonly index: number;
    readonly message: MessageBody;
    readonly logprobs: ChatLogprobs | null;
    readonly finish_reason: FinishReasonBody;
    /** vLLM's; only when asked for, as prompt_token_ids. */
    readonly token_ids?: readonly number[];
  }[];
  readonly usage: UsageBody;
  readonly prompt_logprobs?: PromptLogprobsBody;
  readonly prompt_token_ids?: readonly number[];
}

export interface ChatCompletionChunk extends ResponseHead {
  readonly object: "chat.completion.chunk";
  readonly choices: readonly {
    readonly index: number;
    readonly delta: MessageDelta & { readonly role?: "assistant" };
    readonly logprobs: ChatLogprobs | null;
    readonly finish_reason: FinishReasonBody | null;
    readonly token_ids?: readonly number[];
  }[];
  /** In the first event, when asked for. */
  readonly prompt_token_ids?: readonly number[];
  /** Only when asked for: null, then the numbers in a last event without choices. */
  readonly usage?: UsageBody | null;
}

export interface ChatShape extends OutputShape {
  readonly head: ResponseHead;
  readonly logprobs: boolean;
  readonly tokenIds: boolean;
  readonly includeUsage: boolean;
  /** Usage so far in each event. */
  readonly continuousUsage: boolean;
}

/** A call is what the model stopped for; one that was cut off by the limit is not. */
function toReason(reason: ChoiceResult["finishReason"], { hasCalls }: MessageReader): FinishReasonBody {
  const told = toFinishReason(reason);
  return told === "stop" && hasCalls ? "tool_calls" : told;
}

export function toChatCompletion(
  shape: ChatShape,
  results: readonly ChoiceResult[],
  choices: Choices,
): ChatCompletionBody {
  const promptLogprobs = results[0]?.promptLogprobs;
  return {
    ...shape.head,
    object: "chat.completion",
    choices: results.map((result, index) => {
      const reader = new MessageReader(newReader(shape, choices, index));
      const message = toMessage([...reader.push(result.text), ...reader.end()]);
      return {
        index,
        message,
        logprobs: shape.logprobs && result.logprobs !== null ? toChatLogprobs(result.logprobs) : null,
        finish_reason: toReason(result.finishReason, reader),
        ...(shape.tokenIds ? { token_ids: result.tokenIds } : {}),
      };
    }),
    usage: toUsage(choices.usage),
    ...(shape.tokenIds ? { prompt_token_ids: choices.promptTokenIds(0) } : {}),
    ...(promptLogprobs === undefined ? {} : { prompt_logprobs: toPromptLogprobs(promptLogprobs) }),
  };
}

/** Per choice: the role first, then content and calls, then an empty delta with the finish reason. */
export async function* toChatEvents(shape: ChatShape, choices: Choices): AsyncGenerator<ChatCompletionChunk> {
  const base = { ...shape.head, object: "chat.completion.chunk" as const };
  const readers = new Array<MessageReader | undefined>(choices.count).fill(undefined);
  const counts = new Array<number>(choices.count).fill(0);
  let isOpen = false;
  for await (const { index, chunk } of choices.chunks()) {
    counts[index]! += chunk.tokenIds.length;
    const soFar = choices.usageOf(index, counts[index]!);
    const usage = shape.continuousUsage ? { usage: toUsage(soFar) } : shape.includeUsage ? { usage: null } : {};
    let tokenIds: readonly number[] = [];
    const toEvent = (
      delta: ChatCompletionChunk["choices"][0]["delta"],
      logprobs: ChatLogprobs | null = null,
      finish_reason: FinishReasonBody | null = null,
    ) => {
      const ids = shape.tokenIds ? { token_ids: tokenIds } : {};
      tokenIds = [];
      return { ...base, choices: [{ index, delta, logprobs, finish_reason, ...ids }], ...usage };
    };

    let reader = readers[index];
    if (reader === undefined) {
      reader = new MessageReader(newReader(shape, choices, index));
      readers[index] = reader;
      const opening = toEvent({ role: "assistant", content: "" });
      yield shape.tokenIds && !isOpen ? { ...opening, prompt_token_ids: choices.promptTokenIds(index) } : opening;
      isOpen = true;
    }
    tokenIds = chunk.tokenIds;
    let logprobs = shape.logprobs && chunk.logprobs?.length ? toChatLogprobs(chunk.logprobs) : null;
    const deltas = reader.push(chunk.text);
    if (chunk.finishReason !== null) deltas.push(...reader.end());
    const hasTokens = logprobs !== null || (shape.tokenIds && tokenIds.length > 0);
    if (deltas.length === 0 && hasTokens) deltas.push({ content: "" });
    for (const delta of deltas) {
      yield toEvent(delta, logprobs);
      logprobs = null;
    }
    if (chunk.finishReason !== null) yield toEvent({}, null, toReason(chunk.finishReason, reader));
  }
  if (shape.includeUsage) yield { ...base, choices: [], usage: toUsage(choices.usage) };
}
