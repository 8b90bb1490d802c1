import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { Choices } from "../choices";
import type { ServerContext } from "../context";
import { newResponseHead } from "../response-head";
import { completionRequest } from "../schemas/completion";
import { sendEvents } from "../sse";
import { toCompletion, toCompletionEvents } from "../to-completion";
import { toGenerateParams } from "../to-generate-params";
import { requireModel } from "./models";

export function completionRoutes(app: FastifyInstance, { model, options, running, metrics }: ServerContext): void {
  const schema = { body: completionRequest(model.info) };
  app.withTypeProvider<ZodTypeProvider>().post("/v1/completions", { schema }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const { prompt: prompts, n, logprobs } = body;
    const params = toGenerateParams(body, { maxTokens: body.max_tokens, logprobs });
    const choices = new Choices(model, { prompts, n, params }, running.begin(reply), metrics);
    const shape = {
      head: newResponseHead("cmpl", model.info.id),
      logprobs,
      includeUsage: body.stream_options?.include_usage ?? false,
    };
    if (body.stream) return sendEvents(reply, toCompletionEvents(shape, choices), options);
    return toCompletion(shape, await choices.results(), choices);
  });
}
