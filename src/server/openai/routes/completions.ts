import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { LanguageModel, ModelInfo } from "../../../llm/types";
import type { ServerContext } from "../../context";
import { plainEvents, sendEvents } from "../../http/sse";
import { takeBest } from "../best-of";
import { Choices } from "../choices";
import type { FieldNames } from "../field-names";
import { newResponseHead } from "../response-head";
import { type CompletionRequest, completionRequest } from "../schemas/completion";
import { constraintFieldOf } from "../schemas/constraint";
import { toCompletion, toCompletionEvents } from "../to-completion";
import { toGenerateParams } from "../to-generate-params";
import { requireModel } from "./models";

/** For each of the choices the text of its prompt. */
function promptTexts(model: LanguageModel, { prompt, n }: CompletionRequest): string[] {
  const texts = prompt.map((one) => (typeof one === "string" ? one : model.detokenize(one)));
  return texts.flatMap((text) => new Array<string>(n).fill(text));
}

function toParams(body: CompletionRequest, { maxModelLen }: ModelInfo) {
  const { n, best_of: bestOf = n, logprobs, max_tokens: maxTokens } = body;
  const params = toGenerateParams(body, {
    maxTokens,
    logprobs: bestOf > n ? (logprobs ?? 0) : logprobs,
    room: maxModelLen - Math.max(1, maxTokens),
  });
  // Also what makes an answer of the prompt alone.
  const wantsPrompt = body.echo && (logprobs !== undefined || maxTokens === 0);
  if (wantsPrompt) params.promptLogprobs = Math.max(logprobs ?? 0, body.prompt_logprobs ?? 0);
  return params;
}

function toNames(body: CompletionRequest): FieldNames {
  const constraint = constraintFieldOf(body);
  return constraint === undefined ? {} : { constraint };
}

export function completionRoutes(app: FastifyInstance, { model, options, running, observe }: ServerContext): void {
  const schema = {
    summary: "Continues prompts",
    tags: ["text"],
    body: completionRequest({ ...model.info, strict: options.strict }),
  };
  app.withTypeProvider<ZodTypeProvider>().post("/v1/completions", { schema }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const { prompt: prompts, n, best_of: bestOf = n, stream_options } = body;
    const echo = body.echo ? promptTexts(model, body) : null;
    const request = { prompts, n: bestOf, params: toParams(body, model.info), names: toNames(body) };
    const choices = new Choices(model, request, running.begin(reply), observe(reply));
    const shape = {
      head: newResponseHead("cmpl", model.info.id),
      logprobs: body.logprobs,
      tokenIds: body.return_token_ids,
      promptLogprobs: body.prompt_logprobs !== undefined,
      echo,
      includeUsage: stream_options?.include_usage ?? false,
      continuousUsage: stream_options?.continuous_usage_stats ?? false,
    };
    if (body.stream) return sendEvents(reply, toCompletionEvents(shape, choices), options, plainEvents);
    return toCompletion(shape, takeBest(await choices.results(), bestOf, n), choices);
  });
}
