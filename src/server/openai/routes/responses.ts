import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { stringifyJson } from "../../../json/stringify";
import type { GenerateParams } from "../../../llm/types";
import type { ServerContext } from "../../context";
import { namedEvents, sendEvents } from "../../http/sse";
import { Choices } from "../choices";
import { type ResponseRequest, responseRequest } from "../schemas/response";
import { toTemperature } from "../to-generate-params";
import { newResponseShape, toResponse, toResponseEvents } from "../to-response";
import { requireModel } from "./models";

function toParams({ max_output_tokens, temperature, top_p, text }: ResponseRequest): GenerateParams {
  const params: GenerateParams = {};
  if (max_output_tokens !== undefined) params.maxTokens = max_output_tokens;
  if (temperature !== undefined) params.temperature = toTemperature(temperature);
  if (top_p !== undefined) params.topP = top_p;
  if (text?.constraint !== undefined) params.constraint = text.constraint;
  return params;
}

export function responseRoutes(app: FastifyInstance, { model, options, running, metrics }: ServerContext): void {
  const schema = {
    summary: "Answers a text or a conversation; nothing is stored",
    tags: ["text"],
    body: responseRequest({ ...model.info, strict: options.strict }),
  };
  app.withTypeProvider<ZodTypeProvider>().post("/v1/responses", { schema }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const { instructions } = body;
    const system = instructions === undefined ? [] : [{ role: "system", content: instructions }];
    const names = { constraint: "text.format", maxTokens: "max_output_tokens" };
    const request = { prompts: [[...system, ...body.input]], n: 1, params: toParams(body), names };
    const choices = new Choices(model, request, running.begin(reply), metrics);
    const shape = newResponseShape(body, model.info.id);
    if (body.stream) return sendEvents(reply, toResponseEvents(shape, choices), options, namedEvents);
    const [result] = await choices.results();
    reply.type("application/json; charset=utf-8").serializer(stringifyJson);
    return toResponse(shape, result!, choices.usage);
  });
}
