import { z } from "zod";
import { isObject, JsonNumber } from "../../../json/value";
import type { ChatOptions } from "../../../llm/types";
import { field, optional } from "./field";
import { messages } from "./messages";
import { alternatives, maxNewTokens, refineSampling, samplingFields } from "./sampling";
import { refineTools, toolFields } from "./tools";
import { unsupportedInChat } from "./unsupported";

const maxTemplateArguments = 64;

/** Variables for the chat template: single values only, so that none can stand in for its messages or tools. */
export const templateArguments = field(
  (input, reject): ChatOptions["templateArguments"] => {
    if (!isObject(input)) return reject({ message: "expected an object" });
    const entries = Object.entries(input);
    if (entries.length > maxTemplateArguments)
      reject({ message: `expected at most ${maxTemplateArguments} arguments` });
    for (const [name, value] of entries) {
      const isSingle = value === null || value instanceof JsonNumber;
      if (isSingle || ["string", "number", "boolean"].includes(typeof value)) continue;
      reject({ message: "expected a string, a number, a boolean or null", path: [name] });
    }
    return entries.length === 0 ? undefined : (Object.fromEntries(entries) as ChatOptions["templateArguments"]);
  },
  { type: "object", additionalProperties: { type: ["string", "number", "boolean", "null"] } },
);

/** Body of POST /v1/chat/completions. Fields not listed are ignored. */
export const chatCompletionRequest = (model: { readonly vocabSize: number }) =>
  z
    .object({
      ...samplingFields(model),
      ...toolFields,
      messages,
      max_tokens: optional(z.int().min(1).max(maxNewTokens)),
      /** OpenAI's newer name of max_tokens; wins over it. */
      max_completion_tokens: optional(z.int().min(1).max(maxNewTokens)),
      logprobs: optional(z.boolean()),
      top_logprobs: optional(alternatives),
      chat_template_kwargs: optional(templateArguments),
      ...unsupportedInChat,
    })
    .superRefine((body, context) => {
      refineSampling(body, context, body.max_completion_tokens ?? body.max_tokens);
      refineTools(body, context);
      if (body.top_logprobs === undefined || body.logprobs) return;
      const message = "only allowed together with logprobs: true";
      context.addIssue({ code: "custom", path: ["top_logprobs"], message });
    });

export type ChatCompletionRequest = z.output<ReturnType<typeof chatCompletionRequest>>;
