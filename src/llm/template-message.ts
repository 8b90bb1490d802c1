import type { TemplateMessage } from "../tokenizer/chat-template";
import type { ChatMessage } from "./types";

type Guard = (text: string) => string;

/** A copy of plain data with `guard` applied to every string in it, keys included. */
export function guardStrings(value: unknown, guard: Guard): unknown {
  if (typeof value === "string") return guard(value);
  if (Array.isArray(value)) return value.map((item) => guardStrings(item, guard));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [guard(key), guardStrings(item, guard)]));
}

/** A message under the names that templates know, with `guard` applied to what users wrote. */
export function toTemplateMessage(message: ChatMessage, guard: Guard): TemplateMessage {
  const { role, content, toolCalls, toolCallId, name } = message;
  const called = toolCalls?.map((call) => ({
    id: guard(call.id),
    type: "function",
    function: { name: guard(call.name), arguments: guardStrings(call.arguments, guard) },
  }));
  return {
    role,
    content: guard(content),
    ...(called === undefined ? {} : { tool_calls: called }),
    ...(toolCallId === undefined ? {} : { tool_call_id: guard(toolCallId) }),
    ...(name === undefined ? {} : { name: guard(name) }),
  };
}
