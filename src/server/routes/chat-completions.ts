import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { Choices } from "../choices";
import type { ServerContext } from "../context";
import { newResponseHead } from "../response-head";
import { chatCompletionRequest } from "../schemas/chat-completion";
import { sendEvents } from "../sse";
import { toChatCompletion, toChatEvents } from "../to-chat-completion";
import { toGenerateParams } from "../to-generate-params";
import { requireModel } from "./models";

export function chatCompletionRoutes(app: FastifyInstance, { model, options, running, metrics }: ServerContext): void {
  const schema = { body: chatCompletionRequest };
  app.withTypeProvider<ZodTypeProvider>().post("/v1/chat/completions", { schema }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const params = toGenerateParams(body, {
      maxTokens: body.max_completion_tokens ?? body.max_tokens,
      logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
    });
    const choices = new Choices(model, { prompts: [body.messages], n: body.n, params }, running.begin(reply), metrics);
    const shape = {
      head: newResponseHead("chatcmpl", model.info.id),
      logprobs: body.logprobs ?? false,
      includeUsage: body.stream_options?.include_usage ?? false,
    };
    if (body.stream) return sendEvents(reply, toChatEvents(shape, choices), options);
    return toChatCompletion(shape, await choices.results(), choices);
  });
}
