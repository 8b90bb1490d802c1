import { randomUUID } from "node:crypto";
import { parseJson } from "../../json/parse";
import { isObject } from "../../json/value";
import type { EventFormat } from "../http/sse";
import { namedEvents } from "../http/sse";
import type { ChoiceResult, Choices } from "../openai/choices";
import { toFinishReason } from "../openai/finish-reason";
import type { OutputEvent, OutputReader } from "../openai/tools/output-reader";
import { newReader, type OutputShape } from "../openai/tools/output-shape";
import { toAnthropicError } from "./error-body";

type Block =
  /** Nobody checks that a client sends it back unchanged: the signature is empty. */
  | { readonly type: "thinking"; thinking: string; readonly signature: "" }
  | { readonly type: "text"; text: string }
  | { readonly type: "tool_use"; readonly id: string; readonly name: string; input: unknown };

export interface MessageShape extends OutputShape {
  readonly model: string;
  readonly id: string;
  readonly stops: readonly string[];
}

export interface MessageEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

const newId = (prefix: string) => `${prefix}_${randomUUID().replaceAll("-", "").slice(0, 24)}`;

export const newMessageShape = (model: string, stops: readonly string[], output: OutputShape): MessageShape => ({
  ...output,
  model,
  id: newId("msg"),
  stops,
});

interface Ending {
  readonly stop_reason: string;
  readonly stop_sequence: string | null;
}

/** The end of an output: its text without the stop sequence, which is generated along to be named here. */
function ending(
  { stops }: MessageShape,
  text: string,
  reason: ChoiceResult["finishReason"],
  calls: number,
): Ending & { readonly text: string } {
  const told = toFinishReason(reason);
  if (told === "length") return { text, stop_reason: "max_tokens", stop_sequence: null };
  // Where several have one end, the longest began first, and is what ended the text.
  const [stop] = stops.filter((sequence) => text.endsWith(sequence)).sort((a, b) => b.length - a.length);
  if (stop !== undefined) {
    return { text: text.slice(0, -stop.length), stop_reason: "stop_sequence", stop_sequence: stop };
  }
  return { text, stop_reason: calls > 0 ? "tool_use" : "end_turn", stop_sequence: null };
}

function toBody({ id, model }: MessageShape, content: readonly Block[], end: Ending | null, usage: Choices["usage"]) {
  return {
    id,
    type: "message",
    role: "assistant",
    model,
    content,
    stop_reason: end?.stop_reason ?? null,
    stop_sequence: end?.stop_sequence ?? null,
    usage: {
      input_tokens: usage.promptTokens - usage.cachedTokens,
      output_tokens: usage.completionTokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: usage.cachedTokens,
    },
  };
}

/** Arguments that the limit cut off are none. */
function toInput(text: string): unknown {
  try {
    const value = parseJson(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

export function toMessage(shape: MessageShape, { text, finishReason }: ChoiceResult, choices: Choices) {
  const reader = newReader(shape, choices, 0);
  const end = ending(shape, text, finishReason, 0);
  const content: Block[] = [];
  let input = "";
  for (const event of [...reader.push(end.text), ...reader.end()]) {
    const last = content.at(-1);
    if (event.kind === "call") {
      input = "";
      content.push({ type: "tool_use", id: newId("toolu"), name: event.name, input: {} });
    } else if (event.kind === "arguments") {
      input += event.text;
      if (last?.type === "tool_use") last.input = input;
    } else if (event.kind === "reasoning") {
      if (last?.type === "thinking") last.thinking += event.text;
      else content.push({ type: "thinking", thinking: event.text, signature: "" });
    } else if (last?.type === "text") last.text += event.text;
    else content.push({ type: "text", text: event.text });
  }
  for (const block of content) if (block.type === "tool_use") block.input = toInput(String(block.input));
  const { stop_reason, stop_sequence } = ending(shape, text, finishReason, reader.calls);
  return toBody(shape, content, { stop_reason, stop_sequence }, choices.usage);
}

export async function* toMessageEvents(shape: MessageShape, choices: Choices): AsyncGenerator<MessageEvent> {
  let reader: OutputReader | null = null;
  const blocks = new BlockEvents();
  let isOpen = false;
  let end: Ending = { stop_reason: "end_turn", stop_sequence: null };
  for await (const { index, chunk } of choices.chunks()) {
    if (!isOpen) {
      isOpen = true;
      yield { type: "message_start", message: toBody(shape, [], null, choices.usageOf(index, 0)) };
      yield { type: "ping" };
    }
    reader ??= newReader(shape, choices, index);
    const { finishReason } = chunk;
    const text = finishReason === null ? chunk.text : ending(shape, chunk.text, finishReason, 0).text;
    for (const event of reader.push(text)) yield* blocks.push(event);
    if (finishReason === null) continue;
    for (const event of reader.end()) yield* blocks.push(event);
    end = ending(shape, chunk.text, finishReason, reader.calls);
  }
  yield* blocks.end();
  const { stop_reason, stop_sequence } = end;
  const usage = { output_tokens: choices.usage.completionTokens };
  yield { type: "message_delta", delta: { stop_reason, stop_sequence }, usage };
  yield { type: "message_stop" };
}

/** Content blocks as they come. */
class BlockEvents {
  #index = -1;
  #open: Block["type"] | null = null;

  push(event: OutputEvent): MessageEvent[] {
    if (event.kind === "call") {
      return this.#begin("tool_use", { id: newId("toolu"), name: event.name, input: {} });
    }
    if (event.kind === "reasoning") {
      const begun = this.#open === "thinking" ? [] : this.#begin("thinking", { thinking: "", signature: "" });
      const delta = { type: "thinking_delta", thinking: event.text };
      return [...begun, { type: "content_block_delta", index: this.#index, delta }];
    }
    const isText = event.kind === "text";
    const begun = isText && this.#open !== "text" ? this.#begin("text", { text: "" }) : [];
    const delta = isText
      ? { type: "text_delta", text: event.text }
      : { type: "input_json_delta", partial_json: event.text };
    return [...begun, { type: "content_block_delta", index: this.#index, delta }];
  }

  end(): MessageEvent[] {
    if (this.#open === null) return [];
    this.#open = null;
    return [{ type: "content_block_stop", index: this.#index }];
  }

  #begin(type: Block["type"], fields: object): MessageEvent[] {
    const ended = this.end();
    this.#open = type;
    this.#index++;
    return [...ended, { type: "content_block_start", index: this.#index, content_block: { type, ...fields } }];
  }
}

export const messageEvents: EventFormat<MessageEvent> = {
  ...namedEvents,
  error: ({ body, status }) => `event: error\ndata: ${JSON.stringify(toAnthropicError(body, status))}\n\n`,
};
