import { z } from "zod";
import { isObject, JsonNumber } from "../../../json/value";
import type { ChatOptions } from "../../../llm/types";
import { type BodyRules, bodyOf, field, optional } from "./field";
import { messages } from "./messages";
import { otherFieldsOfChat } from "./other-fields";
import { alternatives, maxNewTokens, refineSampling, samplingFields } from "./sampling";
import { refineTools, toolFields } from "./tools";

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

/** Body of POST /v1/chat/completions. */
export const chatCompletionRequest = (rules: BodyRules) =>
  bodyOf(
    {
      ...otherFieldsOfChat,
      ...samplingFields(rules),
      ...toolFields,
      messages,
      max_tokens: optional(z.int().min(1).max(maxNewTokens)),
      /** OpenAI's newer name of max_tokens; wins over it. */
      max_completion_tokens: optional(z.int().min(1).max(maxNewTokens)),
      logprobs: optional(z.boolean()),
      top_logprobs: optional(alternatives),
      chat_template_kwargs: optional(templateArguments),
      /** Known to the chat templates of models that reason. */
      reasoning_effort: optional(z.string().max(64)),
      add_generation_prompt: optional(z.boolean()),
      continue_final_message: optional(z.boolean()),
    },
    rules.strict,
  ).superRefine((body, context) => {
    refineSampling(body, context, body.max_completion_tokens ?? body.max_tokens);
    refineTools(body, context);
    const refuse = (name: string, message: string) => context.addIssue({ code: "custom", path: [name], message });
    if (body.top_logprobs !== undefined && !body.logprobs) {
      refuse("top_logprobs", "only allowed together with logprobs: true");
    }
    if (body.continue_final_message && body.add_generation_prompt) {
      refuse("continue_final_message", "not allowed together with add_generation_prompt: true");
    }
  });

export type ChatCompletionRequest = z.output<ReturnType<typeof chatCompletionRequest>>;
