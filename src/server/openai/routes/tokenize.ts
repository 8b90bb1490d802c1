import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { ServerContext } from "../../context";
import { detokenizeRequest, tokenizeRequest } from "../schemas/tokenize";
import { requireModel } from "./models";

/** vLLM's /tokenize, /detokenize and /tokenizer_info. */
export function tokenizeRoutes(app: FastifyInstance, { model, options }: ServerContext): void {
  const rules = { ...model.info, strict: options.strict };
  const typed = app.withTypeProvider<ZodTypeProvider>();

  const tokenize = { summary: "Token ids of a text or a conversation", tags: ["tokens"], body: tokenizeRequest(rules) };
  typed.post("/tokenize", { schema: tokenize }, async ({ body }) => {
    requireModel(body.model, model.info);
    let tokens: number[];
    if ("messages" in body) {
      const { add_generation_prompt: addGenerationPrompt, chat_template_kwargs: templateArguments, tools } = body;
      const { continue_final_message: continueFinalMessage } = body;
      const text = await model.renderChat(body.messages, {
        ...(addGenerationPrompt === undefined ? {} : { addGenerationPrompt }),
        ...(continueFinalMessage === undefined ? {} : { continueFinalMessage }),
        ...(templateArguments === undefined ? {} : { templateArguments }),
        ...(tools === undefined ? {} : { tools }),
      });
      // A template writes its own.
      tokens = await model.tokenize(text, { addSpecialTokens: body.add_special_tokens ?? false });
    } else {
      tokens = await model.tokenize(body.prompt, { addSpecialTokens: body.add_special_tokens ?? true });
    }
    return {
      count: tokens.length,
      max_model_len: model.info.maxModelLen,
      tokens,
      token_strs: body.return_token_strs ? tokens.map((id) => model.detokenize([id])) : null,
    };
  });

  const detokenize = { summary: "The text of token ids", tags: ["tokens"], body: detokenizeRequest(rules) };
  typed.post("/detokenize", { schema: detokenize }, async ({ body }) => {
    requireModel(body.model, model.info);
    return { prompt: model.detokenize(body.tokens) };
  });

  const described = { summary: "Special tokens, chat template and sizes of the tokenizer", tags: ["tokens"] };
  app.get("/tokenizer_info", { schema: described }, async () => {
    const { specialTokens, vocabSize, maxModelLen, chatTemplate } = model.info;
    return { ...specialTokens, vocab_size: vocabSize, model_max_length: maxModelLen, chat_template: chatTemplate };
  });
}
