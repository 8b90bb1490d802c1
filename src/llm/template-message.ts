import { EngineError } from "../errors";
import { mapStrings } from "../json/value";
import type { TemplateMessage } from "../tokenizer/chat-template";
import type { ChatMessage } from "./types";

/** A message under the names that templates know, with `guard` applied to what users wrote. */
export function toTemplateMessage(message: ChatMessage, guard: (text: string) => string): TemplateMessage {
  const { role, content, reasoning, toolCalls, toolCallId, name } = message;
  const called = toolCalls?.map((call) => ({
    id: guard(call.id),
    type: "function",
    function: { name: guard(call.name), arguments: mapStrings(call.arguments, guard) },
  }));
  return {
    role,
    content: guard(content),
    ...(reasoning === undefined ? {} : { reasoning_content: guard(reasoning) }),
    ...(called === undefined ? {} : { tool_calls: called }),
    ...(toolCallId === undefined ? {} : { tool_call_id: guard(toolCallId) }),
    ...(name === undefined ? {} : { name: guard(name) }),
  };
}

/** A rendered conversation up to the end of the last message's content, for the model to go on with it. */
export function openEnd(text: string, last: TemplateMessage | undefined): string {
  const content = typeof last?.content === "string" ? last.content.trimStart() : "";
  const shown = content.trimEnd();
  const at = shown === "" ? -1 : text.lastIndexOf(shown);
  // Templates may strip the space at the end of a content.
  if (at >= 0) return text.slice(0, at + (text.startsWith(content, at) ? content : shown).length);
  const message = "the last message has no text that the chat template shows, so it cannot be continued";
  throw new EngineError("ERR_REQUEST", message, { subject: "messages" });
}
