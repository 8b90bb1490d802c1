import { z } from "zod";
import { issueText } from "../../http/issue-text";
import { templateArguments } from "./chat-completion";
import { type BodyRules, bodyOf, field, optional, readTokenIds, tokenIdRule } from "./field";
import { messages } from "./messages";
import { toolFields } from "./tools";

const shared = {
  model: optional(z.string()),
  add_special_tokens: optional(z.boolean()),
  return_token_strs: optional(z.boolean()),
};

const textFields = { ...shared, prompt: z.string() };

const chatFields = {
  ...shared,
  messages,
  add_generation_prompt: optional(z.boolean()),
  continue_final_message: optional(z.boolean()),
  chat_template_kwargs: optional(templateArguments),
  tools: toolFields.tools,
};

/** Body of POST /tokenize: a text, or a conversation. */
export const tokenizeRequest = ({ strict }: BodyRules) =>
  z
    .looseObject({})
    .transform((body, context) => {
      const hasPrompt = (body.prompt ?? undefined) !== undefined;
      const hasMessages = (body.messages ?? undefined) !== undefined;
      if (hasPrompt && hasMessages) {
        context.addIssue({ code: "custom", path: ["messages"], message: "not allowed together with prompt" });
        return z.NEVER;
      }
      const result = hasMessages
        ? bodyOf(chatFields, strict).safeParse(body, { error: issueText })
        : bodyOf(textFields, strict).safeParse(body, { error: issueText });
      if (result.success) return result.data;
      context.issues.push(...(result.error.issues as typeof context.issues));
      return z.NEVER;
    })
    .meta({ description: "A text (prompt) or a conversation (messages)." });

export type TokenizeRequest = z.output<ReturnType<typeof tokenizeRequest>>;

/** Body of POST /detokenize. */
export const detokenizeRequest = ({ vocabSize, maxModelLen, strict }: BodyRules) =>
  bodyOf(
    {
      model: optional(z.string()),
      tokens: field(
        (input, reject): readonly number[] => {
          if (!Array.isArray(input)) return reject({ message: "expected a list of token ids" });
          if (input.length > maxModelLen) reject({ message: `expected at most ${maxModelLen} token ids` });
          const read = readTokenIds(input, vocabSize);
          return "bad" in read ? reject({ message: tokenIdRule(vocabSize), path: [read.bad] }) : read;
        },
        { type: "array", items: { type: "integer", minimum: 0, maximum: vocabSize - 1 } },
      ),
    },
    strict,
  );
