import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { GenerateParams, ModelInfo } from "../../../llm/types";
import type { ServerContext } from "../../context";
import { HttpError } from "../../http/http-error";
import { plainEvents, sendEvents } from "../../http/sse";
import { Choices } from "../choices";
import type { FieldNames } from "../field-names";
import { newResponseHead } from "../response-head";
import { type ChatCompletionRequest, chatCompletionRequest } from "../schemas/chat-completion";
import { constraintFieldOf } from "../schemas/constraint";
import { toChatCompletion, toChatEvents } from "../to-chat-completion";
import { toGenerateParams } from "../to-generate-params";
import { chooseFormat } from "../tools/formats";
import { planTools, type ToolPlan } from "../tools/plan";
import { mayThink } from "../tools/reasoning";
import { requireModel } from "./models";

function toParams(
  body: ChatCompletionRequest,
  { tools, constraint }: ToolPlan,
  { maxModelLen }: ModelInfo,
): GenerateParams {
  const maxTokens = body.max_completion_tokens ?? body.max_tokens;
  const params = toGenerateParams(body, {
    maxTokens,
    logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
    room: maxModelLen - (maxTokens ?? 1),
  });
  if (constraint !== undefined) {
    if (params.constraint !== undefined) {
      throw new HttpError(400, "tool_choice: not allowed together with response_format", { param: "tool_choice" });
    }
    params.constraint = constraint;
  }
  const { reasoning_effort, chat_template_kwargs, add_generation_prompt, continue_final_message } = body;
  const chat = {
    ...(tools === undefined ? {} : { tools }),
    ...(reasoning_effort === undefined && chat_template_kwargs === undefined
      ? {}
      : { templateArguments: { ...(reasoning_effort && { reasoning_effort }), ...chat_template_kwargs } }),
    ...(add_generation_prompt === undefined ? {} : { addGenerationPrompt: add_generation_prompt }),
    ...(continue_final_message === undefined ? {} : { continueFinalMessage: continue_final_message }),
  };
  if (Object.keys(chat).length > 0) params.chat = chat;
  return params;
}

function toNames(body: ChatCompletionRequest, { constraintField, parametersOf }: ToolPlan): FieldNames {
  const constraint = constraintField ?? constraintFieldOf(body);
  return {
    ...(constraint === undefined ? {} : { constraint }),
    ...(constraintField === "tools" ? { parametersOf } : {}),
    maxTokens: body.max_completion_tokens === undefined ? "max_tokens" : "max_completion_tokens",
  };
}

export function chatCompletionRoutes(app: FastifyInstance, { model, options, running, observe }: ServerContext): void {
  const schema = {
    summary: "Answers a conversation",
    tags: ["text"],
    body: chatCompletionRequest({ ...model.info, strict: options.strict }),
  };
  const format = chooseFormat(options.toolFormat, model.info.chatTemplate);
  app.withTypeProvider<ZodTypeProvider>().post("/v1/chat/completions", { schema }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const tools = planTools(body, format);
    const params = toParams(body, tools, model.info);
    const request = {
      prompts: [body.messages],
      n: body.n,
      params,
      names: toNames(body, tools),
    };
    const choices = new Choices(model, request, running.begin(reply), observe(reply));
    const shape = {
      head: newResponseHead("chatcmpl", model.info.id),
      tools,
      thinks: mayThink(model.info.chatTemplate) && params.constraint === undefined,
      logprobs: body.logprobs ?? false,
      tokenIds: body.return_token_ids,
      includeUsage: body.stream_options?.include_usage ?? false,
      continuousUsage: body.stream_options?.continuous_usage_stats ?? false,
    };
    if (body.stream) return sendEvents(reply, toChatEvents(shape, choices), options, plainEvents);
    return toChatCompletion(shape, await choices.results(), choices);
  });
}
