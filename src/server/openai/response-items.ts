import { randomUUID } from "node:crypto";
import type { ChatLogprobs } from "./to-logprobs";
import type { OutputEvent } from "./tools/output-reader";

export type Status = "in_progress" | "completed" | "incomplete";

export interface OutputText {
  readonly type: "output_text";
  readonly text: string;
  readonly annotations: readonly never[];
  readonly logprobs: ChatLogprobs["content"];
}

export interface OutputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: Status;
  readonly role: "assistant";
  readonly content: readonly OutputText[];
}

export interface FunctionCall {
  readonly id: string;
  readonly type: "function_call";
  readonly status: Status;
  readonly call_id: string;
  readonly name: string;
  readonly arguments: string;
}

export interface Reasoning {
  readonly id: string;
  readonly type: "reasoning";
  readonly status: Status;
  readonly summary: readonly never[];
  readonly content: readonly { readonly type: "reasoning_text"; readonly text: string }[];
}

export type OutputItem = OutputMessage | FunctionCall | Reasoning;

/** An event of a stream without its place in it. */
export interface ItemEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

export const newId = (prefix: string) => `${prefix}_${randomUUID().replaceAll("-", "")}`;

const toPart = (text: string, logprobs: ChatLogprobs["content"] = []): OutputText => ({
  type: "output_text",
  text,
  annotations: [],
  logprobs,
});

/** Makes the items of a response from what is read in an output, and the events that tell of them. */
export class ResponseItems {
  /** Those that are complete. */
  readonly items: OutputItem[] = [];
  #open: OutputItem | null = null;
  #text = "";
  /** Log probabilities of the open message's tokens, and those that no delta has told of. */
  #logprobs: ChatLogprobs["content"][number][] = [];
  #untold: ChatLogprobs["content"][number][] = [];

  /** The log probabilities of the tokens that what is pushed next came with. Those of a call are left out. */
  drawn(tokens: ChatLogprobs["content"]): void {
    this.#untold.push(...tokens);
  }

  push(event: OutputEvent): ItemEvent[] {
    if (event.kind === "call") {
      this.#untold = [];
      const call = { id: newId("fc"), call_id: newId("call"), name: event.name, arguments: "" };
      return [...this.#close("completed"), ...this.#begin({ ...call, type: "function_call", status: "in_progress" })];
    }
    if (event.kind === "reasoning") {
      const item = { id: newId("rs"), type: "reasoning", status: "in_progress", summary: [], content: [] } as const;
      const begun = this.#open?.type === "reasoning" ? [] : [...this.#close("completed"), ...this.#begin(item)];
      this.#text += event.text;
      return [...begun, { type: "response.reasoning_text.delta", ...this.#where(), delta: event.text }];
    }
    const isText = event.kind === "text";
    const begun = isText && this.#open?.type !== "message" ? [...this.#close("completed"), ...this.#message()] : [];
    this.#text += event.text;
    const type = isText ? "response.output_text.delta" : "response.function_call_arguments.delta";
    return [...begun, { type, ...this.#where(), delta: event.text, ...(isText ? { logprobs: this.#told() } : {}) }];
  }

  #told(): ChatLogprobs["content"] {
    const told = this.#untold;
    this.#untold = [];
    this.#logprobs.push(...told);
    return told;
  }

  /** The output is complete. An output of nothing is a message without text. */
  end(status: Status): ItemEvent[] {
    const begun = this.#open === null && this.items.length === 0 ? this.#message() : [];
    return [...begun, ...this.#close(status)];
  }

  #message(): ItemEvent[] {
    const message = {
      id: newId("msg"),
      type: "message",
      status: "in_progress",
      role: "assistant",
      content: [],
    } as const;
    const begun = this.#begin(message);
    return [...begun, { type: "response.content_part.added", ...this.#where(), part: toPart("") }];
  }

  #begin(item: OutputItem): ItemEvent[] {
    this.#open = item;
    this.#text = "";
    this.#logprobs = [];
    return [{ type: "response.output_item.added", output_index: this.items.length, item }];
  }

  #where() {
    const item = { item_id: this.#open!.id, output_index: this.items.length };
    return this.#open!.type === "function_call" ? item : { ...item, content_index: 0 };
  }

  #close(status: Status): ItemEvent[] {
    const open = this.#open;
    if (open === null) return [];
    const where = this.#where();
    const text = this.#text;
    const events: ItemEvent[] = [];
    let item: OutputItem;
    if (open.type === "message") {
      this.#told();
      const part = toPart(text, this.#logprobs);
      item = { ...open, status, content: [part] };
      events.push(
        { type: "response.output_text.done", ...where, text, logprobs: part.logprobs },
        { type: "response.content_part.done", ...where, part },
      );
    } else if (open.type === "reasoning") {
      item = { ...open, status, content: [{ type: "reasoning_text", text }] };
      events.push({ type: "response.reasoning_text.done", ...where, text });
    } else {
      item = { ...open, status, arguments: text };
      events.push({ type: "response.function_call_arguments.done", ...where, name: open.name, arguments: text });
    }
    events.push({ type: "response.output_item.done", output_index: this.items.length, item });
    this.items.push(item);
    this.#open = null;
    return events;
  }
}
