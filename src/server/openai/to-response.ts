import { randomUUID } from "node:crypto";
import type { ChoiceResult, Choices } from "./choices";
import { toFinishReason } from "./finish-reason";
import type { ResponseRequest } from "./schemas/response";

type Status = "in_progress" | "completed" | "incomplete";

interface OutputText {
  readonly type: "output_text";
  readonly text: string;
  readonly annotations: readonly never[];
  readonly logprobs: readonly never[];
}

interface OutputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: Status;
  readonly role: "assistant";
  readonly content: readonly OutputText[];
}

/** OpenAI's response object. */
export interface ResponseBody {
  readonly id: string;
  readonly object: "response";
  readonly status: Status;
  readonly output: readonly OutputMessage[];
  readonly [field: string]: unknown;
}

export interface ResponseEvent {
  readonly type: string;
  readonly sequence_number: number;
  readonly [field: string]: unknown;
}

/** What stays the same in every state of a response. */
export interface ResponseShape {
  readonly request: ResponseRequest;
  readonly model: string;
  readonly id: string;
  readonly messageId: string;
  /** Unix time in seconds. */
  readonly createdAt: number;
}

const newId = (prefix: string) => `${prefix}_${randomUUID().replaceAll("-", "")}`;

export function newResponseShape(request: ResponseRequest, model: string): ResponseShape {
  const createdAt = Math.floor(Date.now() / 1000);
  return { request, model, id: newId("resp"), messageId: newId("msg"), createdAt };
}

const toPart = (text: string): OutputText => ({ type: "output_text", text, annotations: [], logprobs: [] });

function toItem({ messageId: id }: ResponseShape, status: Status, content: readonly OutputText[]): OutputMessage {
  return { id, type: "message", status, role: "assistant", content };
}

function toUsage({ promptTokens, completionTokens }: Choices["usage"]) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}

function toBody(
  { request, model, id, createdAt }: ResponseShape,
  status: Status,
  output: readonly OutputMessage[],
  usage: Choices["usage"] | null,
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
    parallel_tool_calls: true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: request.temperature ?? null,
    text: { format: request.text?.format ?? { type: "text" } },
    tool_choice: "auto",
    tools: [],
    top_p: request.top_p ?? null,
    truncation: "disabled",
    usage: usage && toUsage(usage),
  };
}

const toStatus = (reason: ChoiceResult["finishReason"]): Status =>
  toFinishReason(reason) === "length" ? "incomplete" : "completed";

export function toResponse(shape: ResponseShape, result: ChoiceResult, usage: Choices["usage"]): ResponseBody {
  const status = toStatus(result.finishReason);
  return toBody(shape, status, [toItem(shape, status, [toPart(result.text)])], usage);
}

/** Begins once the first tokens have come: what fails before that is answered with a status. */
export async function* toResponseEvents(shape: ResponseShape, choices: Choices): AsyncGenerator<ResponseEvent> {
  let sequence = 0;
  const event = (type: string, fields: object): ResponseEvent => ({ type, sequence_number: sequence++, ...fields });
  const where = { item_id: shape.messageId, output_index: 0, content_index: 0 };
  let text = "";
  let isOpen = false;
  let status: Status = "in_progress";
  for await (const { chunk } of choices.chunks()) {
    if (!isOpen) {
      isOpen = true;
      const response = toBody(shape, "in_progress", [], null);
      yield event("response.created", { response });
      yield event("response.in_progress", { response });
      yield event("response.output_item.added", { output_index: 0, item: toItem(shape, "in_progress", []) });
      yield event("response.content_part.added", { ...where, part: toPart("") });
    }
    text += chunk.text;
    if (chunk.text !== "") yield event("response.output_text.delta", { ...where, delta: chunk.text, logprobs: [] });
    if (chunk.finishReason !== null) status = toStatus(chunk.finishReason);
  }
  const part = toPart(text);
  const item = toItem(shape, status, [part]);
  yield event("response.output_text.done", { ...where, text, logprobs: [] });
  yield event("response.content_part.done", { ...where, part });
  yield event("response.output_item.done", { output_index: 0, item });
  const type = status === "incomplete" ? "response.incomplete" : "response.completed";
  yield event(type, { response: toBody(shape, status, [item], choices.usage) });
}
