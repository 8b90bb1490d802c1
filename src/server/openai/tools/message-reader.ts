import { randomUUID } from "node:crypto";
import type { OutputEvent, OutputReader } from "./output-reader";

/** A tool call of an answer. */
export interface ToolCallBody {
  readonly id: string;
  readonly type: "function";
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A piece of a message in a stream. */
export interface MessageDelta {
  readonly content?: string;
  /** What the model thinks before it answers, as vLLM and DeepSeek name it. */
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly [
    | { readonly index: number; readonly function: { readonly arguments: string } }
    | (ToolCallBody & { readonly index: number }),
  ];
}

/** Turns the text of one choice into the parts of a message. */
export class MessageReader {
  readonly #reader: OutputReader;
  /** The place of the call that is read among the calls. */
  #index = -1;

  constructor(reader: OutputReader) {
    this.#reader = reader;
  }

  get hasCalls(): boolean {
    return this.#reader.calls > 0;
  }

  push(text: string): MessageDelta[] {
    return this.#toDeltas(this.#reader.push(text));
  }

  end(): MessageDelta[] {
    return this.#toDeltas(this.#reader.end());
  }

  #toDeltas(events: readonly OutputEvent[]): MessageDelta[] {
    return events.map((event) => {
      if (event.kind === "text") return { content: event.text };
      if (event.kind === "reasoning") return { reasoning_content: event.text };
      if (event.kind === "call") this.#index++;
      if (event.kind === "arguments") {
        return { tool_calls: [{ index: this.#index, function: { arguments: event.text } }] };
      }
      const id = `call_${randomUUID().replaceAll("-", "").slice(0, 24)}`;
      const named = { name: event.name, arguments: "" };
      return { tool_calls: [{ index: this.#index, id, type: "function", function: named }] };
    });
  }
}

export interface MessageBody {
  readonly role: "assistant";
  /** Null where there is nothing but calls, or reasoning that the limit cut off. */
  readonly content: string | null;
  readonly reasoning_content?: string;
  readonly refusal: null;
  readonly tool_calls?: readonly ToolCallBody[];
}

/** The whole message that its pieces make. */
export function toMessage(deltas: readonly MessageDelta[]): MessageBody {
  let content = "";
  let reasoning = "";
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const delta of deltas) {
    content += delta.content ?? "";
    reasoning += delta.reasoning_content ?? "";
    for (const call of delta.tool_calls ?? []) {
      if ("id" in call) calls.push({ id: call.id, name: call.function.name, arguments: "" });
      calls[call.index]!.arguments += call.function.arguments;
    }
  }
  const tool_calls = calls.map(({ id, ...called }) => ({ id, type: "function" as const, function: called }));
  return {
    role: "assistant",
    content: content === "" && (calls.length > 0 || reasoning !== "") ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls }),
  };
}
