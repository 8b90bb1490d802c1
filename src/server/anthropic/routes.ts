import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { stringifyJson } from "../../json/stringify";
import type { ChatMessage, GenerateParams } from "../../llm/types";
import type { ServerContext } from "../context";
import { HttpError } from "../http/http-error";
import { sendEvents } from "../http/sse";
import { Choices } from "../openai/choices";
import { requireModel } from "../openai/routes/models";
import { toTemperature } from "../openai/to-generate-params";
import { chooseFormat } from "../openai/tools/formats";
import { planTools, type ToolPlan } from "../openai/tools/plan";
import { mayThink } from "../openai/tools/reasoning";
import { countTokensRequest, type MessageRequest, messageRequest } from "./schema";
import { messageEvents, newMessageShape, toMessage, toMessageEvents } from "./to-message";

type Conversation = Pick<MessageRequest, "system" | "messages">;

const toPrompt = ({ system, messages }: Conversation): readonly ChatMessage[] =>
  system === undefined ? messages : [{ role: "system", content: system }, ...messages];

const formatOf = ({ output_config, output_format }: MessageRequest) => output_config ?? output_format;

function toParams(body: MessageRequest, { tools, constraint }: ToolPlan): GenerateParams {
  const { temperature, top_p, top_k, stop_sequences = [] } = body;
  const params: GenerateParams = { maxTokens: body.max_tokens };
  if (temperature !== undefined) params.temperature = toTemperature(temperature);
  if (top_p !== undefined) params.topP = top_p;
  if (top_k !== undefined) params.topK = top_k;
  if (stop_sequences.length > 0) {
    params.stop = stop_sequences;
    // The answer names the one that ended it.
    params.includeStop = true;
  }
  const format = formatOf(body);
  if (format !== undefined && constraint !== undefined) {
    throw new HttpError(400, "tool_choice: not allowed together with output_config.format", { param: "tool_choice" });
  }
  const form = format ?? constraint;
  if (form !== undefined) params.constraint = form;
  if (tools !== undefined) params.chat = { tools };
  return params;
}

/** Anthropic's Messages API, as far as text and tools go. */
export function messageRoutes(app: FastifyInstance, { model, options, running, observe }: ServerContext): void {
  const rules = { ...model.info, strict: options.strict };
  const format = chooseFormat(options.toolFormat, model.info.chatTemplate);
  const typed = app.withTypeProvider<ZodTypeProvider>();
  const plan = ({ tools: given, tool_choice }: Pick<MessageRequest, "tools" | "tool_choice">) =>
    planTools(
      { tools: given?.tools, tool_choice: tool_choice?.choice, parallel_tool_calls: tool_choice?.isParallel },
      format,
      (tool) => `tools[${given?.places[tool]}].input_schema`,
    );

  const answer = {
    summary: "Answers a conversation, in Anthropic's shape",
    tags: ["text"],
    body: messageRequest(rules),
  };
  typed.post("/v1/messages", { schema: answer }, async ({ body }, reply) => {
    requireModel(body.model, model.info);
    const tools = plan(body);
    const own = body.output_config === undefined ? "output_format" : "output_config.format";
    const constraint = formatOf(body) === undefined ? tools.constraintField : own;
    const { parametersOf } = tools;
    const names = {
      ...(constraint === undefined ? {} : { constraint }),
      ...(constraint === "tools" ? { parametersOf } : {}),
      prompt: "messages",
    };
    const params = toParams(body, tools);
    const request = { prompts: [toPrompt(body)], n: 1, params, names };
    const choices = new Choices(model, request, running.begin(reply), observe(reply));
    const shape = newMessageShape(model.info.id, body.stop_sequences ?? [], {
      tools,
      thinks: mayThink(model.info.chatTemplate) && params.constraint === undefined,
    });
    if (body.stream) return sendEvents(reply, toMessageEvents(shape, choices), options, messageEvents);
    const [result] = await choices.results();
    reply.type("application/json; charset=utf-8").serializer(stringifyJson);
    return toMessage(shape, result!, choices);
  });

  const count = {
    summary: "Tokens of a conversation, in Anthropic's shape",
    tags: ["tokens"],
    body: countTokensRequest(rules),
  };
  typed.post("/v1/messages/count_tokens", { schema: count }, async ({ body }) => {
    requireModel(body.model, model.info);
    const { tools } = plan(body);
    const text = await model.renderChat(toPrompt(body), tools === undefined ? {} : { tools });
    return { input_tokens: (await model.tokenize(text, { addSpecialTokens: false })).length };
  });
}
