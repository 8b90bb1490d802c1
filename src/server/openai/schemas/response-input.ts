import { isObject } from "../../../json/value";
import type { ChatMessage, ToolCall } from "../../../llm/types";
import { field, type Issue } from "./field";
import { maxMessages, readArguments, readContent, readRole } from "./messages";

type Reject = (issue: Issue) => never;
type Fields = Readonly<Record<string, unknown>>;

const textParts = ["input_text", "output_text", "text"];
const expectedItem =
  'only items of type "message", "function_call", "function_call_output", "item_reference" and "reasoning" are supported';

function readText(item: Fields, name: string, i: number, reject: Reject): string {
  const value = item[name];
  return typeof value === "string" ? value : reject({ message: "expected a string", path: [i, name] });
}

function readCall(item: Fields, i: number, reject: Reject): ToolCall {
  const id = readText(item, "call_id", i, reject);
  const name = readText(item, "name", i, reject);
  return { id, name, arguments: readArguments(item.arguments, [i, "arguments"], reject) };
}

/** What an item_reference stands for. */
export type FindItem = (id: string) => object | undefined;

function readItem(item: unknown, i: number, find: FindItem, reject: Reject): ChatMessage | null {
  if (!isObject(item)) return reject({ message: "expected an object", path: [i] });
  switch (item.type ?? "message") {
    case "message": {
      const role = readRole(item.role, [i, "role"], reject);
      if (role === "tool")
        reject({ message: 'expected "system", "developer", "user" or "assistant"', path: [i, "role"] });
      return { role, content: readContent(item.content, [i, "content"], reject, textParts) };
    }
    case "function_call":
      return { role: "assistant", content: "", toolCalls: [readCall(item, i, reject)] };
    case "function_call_output": {
      const toolCallId = readText(item, "call_id", i, reject);
      return { role: "tool", content: readContent(item.output, [i, "output"], reject, textParts), toolCallId };
    }
    case "item_reference": {
      const found = find(readText(item, "id", i, reject));
      if (found !== undefined) return readItem(found, i, () => undefined, reject);
      const message = "there is no such item any more; only the last ones are remembered, so send it itself";
      return reject({ message, path: [i, "id"] });
    }
    // What a model thought in an earlier answer is not shown to it again.
    case "reasoning":
      return null;
    default:
      return reject({ message: expectedItem, path: [i, "type"] });
  }
}

/** Calls that follow each other, or a text of the assistant, are one message of it. */
function joined(messages: readonly ChatMessage[]): ChatMessage[] {
  const all: ChatMessage[] = [];
  for (const message of messages) {
    const last = all.at(-1);
    if (message.toolCalls === undefined || last?.role !== "assistant") all.push(message);
    else all[all.length - 1] = { ...last, toolCalls: [...(last.toolCalls ?? []), ...message.toolCalls] };
  }
  return all;
}

/** A text, or a conversation in items. */
export const responseInput = (find: FindItem) =>
  field(
    (given, reject): readonly ChatMessage[] => {
      if (given === undefined || given === null) return reject({ message: "is required" });
      if (typeof given === "string") return [{ role: "user", content: given }];
      if (!Array.isArray(given)) return reject({ message: "expected a string or a list of messages" });
      if (given.length === 0) reject({ message: "must not be empty" });
      if (given.length > maxMessages) reject({ message: `expected at most ${maxMessages} messages` });
      return joined(given.flatMap((item, i) => readItem(item, i, find, reject) ?? []));
    },
    { anyOf: [{ type: "string" }, { type: "array", items: { type: "object" } }] },
  );
