import { mapStrings } from "../json/value";
import type { TemplateMessage } from "../tokenizer/chat-template";
import type { ChatMessage } from "./types";

/** A message under the names that templates know, with `guard` applied to what users wrote. */
export function toTemplateMessage(message: ChatMessage, guard: (text: string) => string): TemplateMessage {
  const { role, content, toolCalls, toolCallId, name } = message;
  const called = toolCalls?.map((call) => ({
    id: guard(call.id),
    type: "function",
    function: { name: guard(call.name), arguments: mapStrings(call.arguments, guard) },
  }));
  return {
    role,
    content: guard(content),
    ...(called === undefined ? {} : { tool_calls: called }),
    ...(toolCallId === undefined ? {} : { tool_call_id: guard(toolCallId) }),
    ...(name === undefined ? {} : { name: guard(name) }),
  };
}
