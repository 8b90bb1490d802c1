import { z } from "zod";
import type { ChatMessage } from "../../llm/types";
import { field, type Issue, optional } from "./field";
import { maxNewTokens, refineStreamOptions, samplingFields } from "./sampling";
import { unsupportedCode, unsupportedInChat } from "./unsupported";

export const maxMessages = 4096;

type Reject = (issue: Issue) => never;
type Path = readonly PropertyKey[];

/** The role as chat templates know it: OpenAI's "developer" is the newer name of "system". */
function readRole(role: unknown, path: Path, reject: Reject): string {
  switch (role) {
    case "system":
    case "user":
    case "assistant":
      return role;
    case "developer":
      return "system";
    case "tool":
    case "function":
      return reject({ message: `the role "${role}" is not supported yet`, path, code: unsupportedCode });
    default:
      return reject({ message: 'expected "system", "developer", "user" or "assistant"', path });
  }
}

/** A text, or the texts of a list of parts, one per line. */
function readContent(content: unknown, path: Path, reject: Reject): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return reject({ message: "expected a string or a list of text parts", path });
  if (content.length === 0) reject({ message: "must not be empty", path });
  return content
    .map((part: { type?: unknown; text?: unknown } | null, i) => {
      if (part?.type !== "text")
        return reject({ message: 'only parts of type "text" are supported', path: [...path, i] });
      if (typeof part.text !== "string") return reject({ message: "expected a string", path: [...path, i, "text"] });
      return part.text;
    })
    .join("\n");
}

const messages = field((input, reject): readonly ChatMessage[] => {
  if (input === undefined || input === null) return reject({ message: "is required" });
  if (!Array.isArray(input)) return reject({ message: "expected a list of messages" });
  if (input.length === 0) reject({ message: "must not be empty" });
  if (input.length > maxMessages) reject({ message: `expected at most ${maxMessages} messages` });
  return input.map((message: { role?: unknown; content?: unknown } | null, i) => {
    if (typeof message !== "object" || message === null) return reject({ message: "expected an object", path: [i] });
    return {
      role: readRole(message.role, [i, "role"], reject),
      content: readContent(message.content, [i, "content"], reject),
    };
  });
});

/** Body of POST /v1/chat/completions. Fields not listed are ignored. */
export const chatCompletionRequest = z
  .object({
    ...samplingFields,
    messages,
    max_tokens: optional(z.int().min(1).max(maxNewTokens)),
    /** OpenAI's newer name of max_tokens; wins over it. */
    max_completion_tokens: optional(z.int().min(1).max(maxNewTokens)),
    logprobs: optional(z.boolean()),
    top_logprobs: optional(z.int().min(0).max(20)),
    ...unsupportedInChat,
  })
  .superRefine(refineStreamOptions)
  .superRefine(({ logprobs, top_logprobs }, context) => {
    if (top_logprobs === undefined || logprobs) return;
    context.addIssue({ code: "custom", path: ["top_logprobs"], message: "only allowed together with logprobs: true" });
  });

export type ChatCompletionRequest = z.output<typeof chatCompletionRequest>;
