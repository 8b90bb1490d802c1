import { isObject } from "../../json/value";
import type { ChatMessage, ToolCall } from "../../llm/types";
import { field, type Issue } from "../openai/schemas/field";
import { maxMessages } from "../openai/schemas/messages";

type Reject = (issue: Issue) => never;
type Path = readonly PropertyKey[];
type Block = Readonly<Record<string, unknown>>;

function readString(block: Block, name: string, path: Path, reject: Reject): string {
  const value = block[name];
  return typeof value === "string" ? value : reject({ message: "expected a string", path: [...path, name] });
}

function readBlocks(content: unknown, path: Path, reject: Reject): readonly Block[] {
  if (typeof content === "string") return [{ type: "text", text: content }];
  if (!Array.isArray(content)) return reject({ message: "expected a string or a list of content blocks", path });
  return content.map((block: unknown, i) =>
    isObject(block) ? block : reject({ message: "expected an object", path: [...path, i] }),
  );
}

/** The text of blocks that are all text, one per line. */
export function readTexts(content: unknown, path: Path, reject: Reject): string {
  const texts = readBlocks(content, path, reject).map((block, i) => {
    if (block.type === "text") return readString(block, "text", [...path, i], reject);
    return reject({ message: 'only blocks of type "text" are supported', path: [...path, i, "type"] });
  });
  return texts.join("\n");
}

function readUser(blocks: readonly Block[], path: Path, reject: Reject): ChatMessage[] {
  const results: ChatMessage[] = [];
  const texts: string[] = [];
  for (const [i, block] of blocks.entries()) {
    const at = [...path, i];
    if (block.type === "text") texts.push(readString(block, "text", at, reject));
    else if (block.type === "tool_result") {
      const toolCallId = readString(block, "tool_use_id", at, reject);
      const content = readTexts(block.content ?? "", [...at, "content"], reject);
      results.push({ role: "tool", content, toolCallId });
    } else reject({ message: 'only blocks of type "text" and "tool_result" are supported', path: [...at, "type"] });
  }
  // Results answer the calls before: they come first, whatever is said beside them.
  return texts.length === 0 ? results : [...results, { role: "user", content: texts.join("\n") }];
}

function readAssistant(blocks: readonly Block[], path: Path, reject: Reject): ChatMessage[] {
  const texts: string[] = [];
  const toolCalls: ToolCall[] = [];
  for (const [i, block] of blocks.entries()) {
    const at = [...path, i];
    switch (block.type) {
      case "text":
        texts.push(readString(block, "text", at, reject));
        break;
      case "tool_use": {
        const input = block.input ?? {};
        if (!isObject(input)) return reject({ message: "expected an object", path: [...at, "input"] });
        const id = readString(block, "id", at, reject);
        toolCalls.push({ id, name: readString(block, "name", at, reject), arguments: input });
        break;
      }
      // What a model thought in an earlier answer is not shown to it again.
      case "thinking":
      case "redacted_thinking":
        break;
      default:
        reject({
          message: 'only blocks of type "text", "tool_use" and "thinking" are supported',
          path: [...at, "type"],
        });
    }
  }
  const content = texts.join("\n");
  return [{ role: "assistant", content, ...(toolCalls.length === 0 ? {} : { toolCalls }) }];
}

/** The conversation; a message with results of tools becomes several. */
export const messagesField = field(
  (input, reject): readonly ChatMessage[] => {
    if (!Array.isArray(input)) return reject({ message: "expected a list of messages" });
    if (input.length === 0) reject({ message: "must not be empty" });
    if (input.length > maxMessages) reject({ message: `expected at most ${maxMessages} messages` });
    return input.flatMap((message: unknown, i) => {
      if (!isObject(message)) return reject({ message: "expected an object", path: [i] });
      const blocks = readBlocks(message.content, [i, "content"], reject);
      if (message.role === "user") return readUser(blocks, [i, "content"], reject);
      if (message.role === "assistant") return readAssistant(blocks, [i, "content"], reject);
      return reject({ message: 'expected "user" or "assistant"', path: [i, "role"] });
    });
  },
  { type: "array", minItems: 1, maxItems: maxMessages, items: { type: "object", required: ["role", "content"] } },
);

export const systemField = field((input, reject): string => readTexts(input, [], reject), {
  anyOf: [{ type: "string" }, { type: "array", items: { type: "object" } }],
});
