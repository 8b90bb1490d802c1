import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { stringifyJson } from "../../../json/stringify";
import type { GenerateParams } from "../../../llm/types";
import type { ServerContext } from "../../context";
import { HttpError } from "../../http/http-error";
import { namedEvents, sendEvents } from "../../http/sse";
import { Choices } from "../choices";
import { ItemMemory } from "../item-memory";
import type { OutputItem } from "../response-items";
import { type ResponseRequest, responseRequest } from "../schemas/response";
import { toTemperature } from "../to-generate-params";
import { newResponseShape, toResponse, toResponseEvents } from "../to-response";
import { chooseFormat } from "../tools/formats";
import { planTools, type ToolPlan } from "../tools/plan";
import { mayThink } from "../tools/reasoning";
import { requireModel } from "./models";

function toParams(body: ResponseRequest, { tools, constraint }: ToolPlan, maxModelLen: number): GenerateParams {
  const { max_output_tokens, temperature, top_p, text, reasoning } = body;
  const params: GenerateParams = {};
  if (max_output_tokens !== undefined) params.maxTokens = max_output_tokens;
  if (body.truncation === "auto") params.truncatePrompt = Math.max(1, maxModelLen - (max_output_tokens ?? 1));
  const wantsLogprobs = body.include?.includes("message.output_text.logprobs") || body.top_logprobs !== undefined;
  if (wantsLogprobs) params.logprobs = body.top_logprobs ?? 0;
  if (temperature !== undefined) params.temperature = toTemperature(temperature);
  if (top_p !== undefined) params.topP = top_p;
  if (text?.constraint !== undefined && constraint !== undefined) {
    throw new HttpError(400, "tool_choice: not allowed together with text.format", { param: "tool_choice" });
  }
  const form = text?.constraint ?? constraint;
  if (form !== undefined) params.constraint = form;
  const effort = reasoning?.effort;
  if (tools !== undefined || effort !== undefined) {
    params.chat = {
      ...(tools === undefined ? {} : { tools }),
      ...(effort === undefined ? {} : { templateArguments: { reasoning_effort: effort } }),
    };
  }
  return params;
}

export function responseRoutes(app: FastifyInstance, { model, options, running, observe }: ServerContext): void {
  const memory = new ItemMemory();
  const schema = {
    summary: "Answers a text or a conversation; nothing is stored",
    tags: ["text"],
    body: responseRequest({ ...model.info, strict: options.strict }, (id) => memory.find(id)),
  };
  const format = chooseFormat(options.toolFormat, model.info.chatTemplate);
  app.withTypeProvider<ZodTypeProvider>().post("/v1/responses", { schema }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const { instructions, tools: given, tool_choice, parallel_tool_calls } = body;
    const plan = planTools(
      { tools: given?.tools, tool_choice, parallel_tool_calls },
      format,
      (tool) => `tools[${given?.places[tool]}].parameters`,
    );
    const system = instructions === undefined ? [] : [{ role: "system", content: instructions }];
    const constraintField = body.text?.constraint === undefined ? plan.constraintField : "text.format";
    const names = {
      ...(constraintField === undefined ? {} : { constraint: constraintField }),
      ...(constraintField === "tools" ? { parametersOf: plan.parametersOf } : {}),
      prompt: "input",
      maxTokens: "max_output_tokens",
    };
    const params = toParams(body, plan, model.info.maxModelLen);
    const request = { prompts: [[...system, ...body.input]], n: 1, params, names };
    const keep = (items: readonly OutputItem[]) => (body.store === false ? undefined : memory.keep(items));
    const choices = new Choices(model, request, running.begin(reply), observe(reply));
    const shape = newResponseShape(
      body,
      { tools: plan, thinks: mayThink(model.info.chatTemplate) && params.constraint === undefined },
      model.info.id,
    );
    if (body.stream) return sendEvents(reply, toResponseEvents(shape, choices, keep), options, namedEvents);
    const response = await toResponse(shape, choices, keep);
    reply.type("application/json; charset=utf-8").serializer(stringifyJson);
    return response;
  });
}
