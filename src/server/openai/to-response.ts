import type { Usage } from "../../llm/types";
import type { ChoiceResult, Choices } from "./choices";
import { toFinishReason } from "./finish-reason";
import { type ItemEvent, newId, type OutputItem, ResponseItems, type Status } from "./response-items";
import type { ResponseRequest } from "./schemas/response";
import { toChatLogprobs } from "./to-logprobs";
import type { OutputReader } from "./tools/output-reader";
import { newReader, type OutputShape } from "./tools/output-shape";

/** OpenAI's response object. */
export interface ResponseBody {
  readonly id: string;
  readonly object: "response";
  readonly status: Status;
  readonly output: readonly OutputItem[];
  readonly [field: string]: unknown;
}

export interface ResponseEvent extends ItemEvent {
  readonly sequence_number: number;
}

/** What stays the same in every state of a response. */
export interface ResponseShape extends OutputShape {
  readonly request: ResponseRequest;
  readonly model: string;
  readonly id: string;
  /** Unix time in seconds. */
  readonly createdAt: number;
}

export function newResponseShape(request: ResponseRequest, output: OutputShape, model: string): ResponseShape {
  return { ...output, request, model, id: newId("resp"), createdAt: Math.floor(Date.now() / 1000) };
}

interface ResponseUsage extends Usage {
  /** Generated tokens up to the mark that ends the reasoning. */
  readonly reasoningTokens: number;
}

function toUsage({ promptTokens, completionTokens, cachedTokens, reasoningTokens }: ResponseUsage) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}

function toToolChoice({ tool_choice: choice = "auto" }: ResponseRequest) {
  return typeof choice === "string" ? choice : { type: "function", name: choice.name };
}

function toBody(
  { request, model, id, createdAt }: ResponseShape,
  status: Status,
  output: readonly OutputItem[],
  usage: ResponseUsage | null,
): ResponseBody {
  return {
    id,
    object: "response",
    created_at: createdAt,
    status,
    background: false,
    error: null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    metadata: request.metadata ?? {},
    model,
    output,
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: request.reasoning?.effort ?? null, summary: null },
    store: false,
    temperature: request.temperature ?? null,
    text: { format: request.text?.format ?? { type: "text" } },
    tool_choice: toToolChoice(request),
    tools: request.tools?.given ?? [],
    top_p: request.top_p ?? null,
    top_logprobs: request.top_logprobs ?? 0,
    truncation: request.truncation ?? "disabled",
    usage: usage && toUsage(usage),
  };
}

const toStatus = (reason: ChoiceResult["finishReason"]): Status =>
  toFinishReason(reason) === "length" ? "incomplete" : "completed";

/** Called with the items of a response that is complete. */
type Keep = (items: readonly OutputItem[]) => void;

/** The whole, which the last event has. */
export async function toResponse(shape: ResponseShape, choices: Choices, keep: Keep): Promise<ResponseBody> {
  let last: ResponseEvent | undefined;
  for await (const event of toResponseEvents(shape, choices, keep)) last = event;
  return last!.response as ResponseBody;
}

/** Begins once the first tokens have come: what fails before that is answered with a status. */
export async function* toResponseEvents(
  shape: ResponseShape,
  choices: Choices,
  keep: Keep,
): AsyncGenerator<ResponseEvent> {
  let sequence = 0;
  const numbered = (event: ItemEvent): ResponseEvent => ({ ...event, sequence_number: sequence++ });
  let reader: OutputReader | null = null;
  const items = new ResponseItems();
  let status: Status = "in_progress";
  let [tokens, reasoningTokens] = [0, 0];
  for await (const { chunk } of choices.chunks()) {
    if (sequence === 0) {
      const response = toBody(shape, "in_progress", [], null);
      yield numbered({ type: "response.created", response });
      yield numbered({ type: "response.in_progress", response });
    }
    reader ??= newReader(shape, choices, 0);
    items.drawn(toChatLogprobs(chunk.logprobs ?? []).content);
    const wasThinking = reader.isThinking;
    for (const read of reader.push(chunk.text)) yield* items.push(read).map(numbered);
    tokens += chunk.tokenIds.length;
    if (wasThinking || reader.isThinking) reasoningTokens = tokens; // it comes first
    if (chunk.finishReason !== null) status = toStatus(chunk.finishReason);
  }
  for (const read of reader?.end() ?? []) yield* items.push(read).map(numbered);
  yield* items.end(status).map(numbered);
  keep(items.items);
  const type = status === "incomplete" ? "response.incomplete" : "response.completed";
  const usage = { ...choices.usage, reasoningTokens };
  yield numbered({ type, response: toBody(shape, status, items.items, usage) });
}
