import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { LanguageModel } from "../../../llm/types";
import type { ServerContext } from "../../context";
import { HttpError } from "../../http/http-error";
import { type ChoiceResult, Choices } from "../choices";
import { newResponseHead } from "../response-head";
import { scoreRequest } from "../schemas/score";
import { toUsage } from "../to-usage";
import { requireModel } from "./models";

interface Pair {
  readonly ids: readonly number[];
  /** Tokens of the first text. */
  readonly given: number;
}

async function tokenized(model: LanguageModel, texts: readonly string[], others: readonly string[]): Promise<Pair[]> {
  const firsts = await Promise.all(texts.map((text) => model.tokenize(text)));
  const seconds = await Promise.all(others.map((text) => model.tokenize(text, { addSpecialTokens: false })));
  return seconds.map((ids, i) => {
    const before = firsts[firsts.length === 1 ? 0 : i]!;
    if (before.length === 0 || ids.length === 0) {
      const param = before.length === 0 ? "text_1" : "text_2";
      throw new HttpError(400, `${param}: a text has no token`, { param });
    }
    return { ids: [...before, ...ids], given: before.length };
  });
}

/** The mean log probability of the tokens of the second text. */
function toScore({ promptLogprobs = [] }: ChoiceResult, { given }: Pair): number {
  const own = promptLogprobs.slice(given);
  return own.reduce((sum, { logprob }) => sum + (logprob ?? 0), 0) / own.length;
}

/**
 * vLLM's /score in the sense that a language model can give it: how well text_2 goes on from text_1, as the mean natural log
 * probability of a token of text_2 after both; at most 0. Pairs run beside other requests.
 */
export function scoreRoutes(app: FastifyInstance, { model, options, running, observe }: ServerContext): void {
  const schema = {
    summary: "How likely texts are after others: the mean log probability of a token",
    tags: ["text"],
    body: scoreRequest({ ...model.info, strict: options.strict }),
  };
  for (const url of ["/v1/score", "/score"]) {
    app.withTypeProvider<ZodTypeProvider>().post(url, { schema }, async ({ body }, reply) => {
      requireModel(body.model, model.info);
      const pairs = await tokenized(model, body.text_1, body.text_2);
      const params = { maxTokens: 0, promptLogprobs: 0 };
      const request = { prompts: pairs.map(({ ids }) => ids), n: 1, params, names: {} };
      const choices = new Choices(model, request, running.begin(reply), observe(reply));
      const results = await choices.results();
      return {
        ...newResponseHead("score", model.info.id),
        object: "list" as const,
        data: results.map((result, index) => ({
          index,
          object: "score" as const,
          score: toScore(result, pairs[index]!),
        })),
        usage: toUsage({ ...choices.usage, completionTokens: 0 }),
      };
    });
  }
}
