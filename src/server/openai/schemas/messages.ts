import { isObject } from "../../../json/value";
import type { ChatMessage, ToolCall } from "../../../llm/types";
import { field, type Issue, readJson } from "./field";

export const maxMessages = 4096;
const maxToolCalls = 128;

type Reject = (issue: Issue) => never;
type Path = readonly PropertyKey[];
type Fields = Readonly<Record<string, unknown>>;

/** The role as chat templates know it: OpenAI's "developer" is the newer name of "system". */
export function readRole(role: unknown, path: Path, reject: Reject): string {
  switch (role) {
    case "system":
    case "user":
    case "assistant":
    case "tool":
      return role;
    case "developer":
      return "system";
    default:
      return reject({ message: 'expected "system", "developer", "user", "assistant" or "tool"', path });
  }
}

/** A text, or the texts of a list of parts, one per line. `types` are the parts that hold text. */
export function readContent(content: unknown, path: Path, reject: Reject, types: readonly string[] = ["text"]): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return reject({ message: "expected a string or a list of text parts", path });
  if (content.length === 0) reject({ message: "must not be empty", path });
  return content
    .map((part: { type?: unknown; text?: unknown } | null, i) => {
      if (typeof part?.type !== "string" || !types.includes(part.type)) {
        const got = typeof part?.type === "string" ? `, got "${part.type.slice(0, 64)}"` : "";
        return reject({
          message: `only parts of type "${types.join('" or "')}" are supported${got}`,
          path: [...path, i],
        });
      }
      if (typeof part.text !== "string") return reject({ message: "expected a string", path: [...path, i, "text"] });
      return part.text;
    })
    .join("\n");
}

/** Arguments as clients send them back: the JSON text of an object. */
export function readArguments(text: unknown, path: Path, reject: Reject): Readonly<Record<string, unknown>> {
  const expected = "expected the JSON text of an object";
  if (typeof text !== "string") return reject({ message: expected, path });
  const value = text.trim() === "" ? {} : readJson(text, expected, path, reject);
  return isObject(value) ? value : reject({ message: expected, path });
}

function readToolCalls(calls: unknown, path: Path, reject: Reject): readonly ToolCall[] | undefined {
  if (calls === undefined || calls === null) return undefined;
  if (!Array.isArray(calls)) return reject({ message: "expected a list of tool calls", path });
  if (calls.length > maxToolCalls) reject({ message: `expected at most ${maxToolCalls} tool calls`, path });
  if (calls.length === 0) return undefined;
  return calls.map((call: { id?: unknown; function?: Fields } | null, i) => {
    const name = call?.function?.name;
    if (typeof name !== "string")
      return reject({ message: "expected a string", path: [...path, i, "function", "name"] });
    if (typeof call?.id !== "string") return reject({ message: "expected a string", path: [...path, i, "id"] });
    const argumentsPath = [...path, i, "function", "arguments"];
    return { id: call.id, name, arguments: readArguments(call.function?.arguments, argumentsPath, reject) };
  });
}

function readMessage(message: Fields, path: Path, reject: Reject): ChatMessage {
  const role = readRole(message.role, [...path, "role"], reject);
  const toolCalls =
    role === "assistant" ? readToolCalls(message.tool_calls, [...path, "tool_calls"], reject) : undefined;
  const { reasoning_content: reasoning } = message;
  const thought = role === "assistant" && typeof reasoning === "string" && reasoning !== "" ? { reasoning } : null;
  // As answers are that are calls, or were cut off while the model thought.
  const isBare = (toolCalls !== undefined || thought !== null) && (message.content ?? null) === null;
  const content = isBare ? "" : readContent(message.content, [...path, "content"], reject);
  if (role === "assistant") return { role, content, ...thought, ...(toolCalls === undefined ? {} : { toolCalls }) };
  if (role !== "tool") return { role, content };
  const { tool_call_id: toolCallId, name } = message;
  if (typeof toolCallId !== "string") return reject({ message: "expected a string", path: [...path, "tool_call_id"] });
  return { role, content, toolCallId, ...(typeof name === "string" ? { name } : {}) };
}

/** The conversation of a chat request. */
export const messages = field(
  (input, reject): readonly ChatMessage[] => {
    if (input === undefined || input === null) return reject({ message: "is required" });
    if (!Array.isArray(input)) return reject({ message: "expected a list of messages" });
    if (input.length === 0) reject({ message: "must not be empty" });
    if (input.length > maxMessages) reject({ message: `expected at most ${maxMessages} messages` });
    return input.map((message: unknown, i) => {
      return isObject(message)
        ? readMessage(message, [i], reject)
        : reject({ message: "expected an object", path: [i] });
    });
  },
  { type: "array", minItems: 1, maxItems: maxMessages, items: { type: "object", required: ["role"] } },
);
