/** What routes answer with, for /openapi.json; a test holds real answers to it. */
import { z } from "zod";

const id = z.string();
const count = z.int().min(0);
/** Unix time in seconds. */
const created = count;
const logprob = z.number().max(0);

const token = z.object({ token: z.string(), logprob, bytes: z.array(z.int().min(0).max(255)) });
const tokens = z.array(token.extend({ top_logprobs: z.array(token) }));
const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: count }),
  completion_tokens_details: z
    .object({ accepted_prediction_tokens: count, rejected_prediction_tokens: count })
    .optional(),
});
const finishReason = z.enum(["stop", "length", "tool_calls"]);
const status = z.enum(["in_progress", "completed", "incomplete"]);

/** For each token but the first, it and what was likely there, by token id. */
const promptLogprobs = z.array(
  z.record(z.string(), z.object({ logprob, rank: z.int().min(1), decoded_token: z.string() })).nullable(),
);
const tokenIds = z.array(count);

const completion = z.object({
  id,
  object: z.literal("text_completion"),
  created,
  model: z.string(),
  choices: z.array(
    z.object({
      index: count,
      text: z.string(),
      logprobs: z
        .object({
          tokens: z.array(z.string()),
          token_logprobs: z.array(logprob.nullable()),
          top_logprobs: z.array(z.record(z.string(), logprob).nullable()).nullable(),
          text_offset: z.array(count),
        })
        .nullable(),
      finish_reason: finishReason,
      prompt_logprobs: promptLogprobs.optional(),
      token_ids: tokenIds.optional(),
      prompt_token_ids: tokenIds.optional(),
    }),
  ),
  usage,
});

const chatCompletion = z.object({
  id,
  object: z.literal("chat.completion"),
  created,
  model: z.string(),
  choices: z.array(
    z.object({
      index: count,
      message: z.object({
        role: z.literal("assistant"),
        content: z.string().nullable(),
        refusal: z.null(),
        reasoning_content: z.string().optional(),
        tool_calls: z
          .array(
            z.object({
              id,
              type: z.literal("function"),
              function: z.object({ name: z.string(), arguments: z.string() }),
            }),
          )
          .optional(),
      }),
      logprobs: z.object({ content: tokens, refusal: z.null() }).nullable(),
      finish_reason: finishReason,
      token_ids: tokenIds.optional(),
    }),
  ),
  usage,
  prompt_logprobs: promptLogprobs.optional(),
  prompt_token_ids: tokenIds.optional(),
});

const outputItem = z.union([
  z.object({
    id,
    type: z.literal("message"),
    status,
    role: z.literal("assistant"),
    content: z.array(
      z.object({
        type: z.literal("output_text"),
        text: z.string(),
        annotations: z.array(z.never()),
        logprobs: tokens,
      }),
    ),
  }),
  z.object({
    id,
    type: z.literal("function_call"),
    status,
    call_id: id,
    name: z.string(),
    arguments: z.string(),
  }),
  z.object({
    id,
    type: z.literal("reasoning"),
    status,
    summary: z.array(z.never()),
    content: z.array(z.object({ type: z.literal("reasoning_text"), text: z.string() })),
  }),
]);

/** What was asked for stands in it, too. */
const response = z.looseObject({
  id,
  object: z.literal("response"),
  created_at: created,
  status,
  model: z.string(),
  output: z.array(outputItem),
  incomplete_details: z.object({ reason: z.literal("max_output_tokens") }).nullable(),
  usage: z
    .object({
      input_tokens: count,
      input_tokens_details: z.object({ cached_tokens: count }),
      output_tokens: count,
      output_tokens_details: z.object({ reasoning_tokens: count }),
      total_tokens: count,
    })
    .nullable(),
});

const message = z.object({
  id,
  type: z.literal("message"),
  role: z.literal("assistant"),
  model: z.string(),
  content: z.array(
    z.union([
      z.object({ type: z.literal("text"), text: z.string() }),
      z.object({ type: z.literal("thinking"), thinking: z.string(), signature: z.string() }),
      z.object({ type: z.literal("tool_use"), id, name: z.string(), input: z.looseObject({}) }),
    ]),
  ),
  stop_reason: z.enum(["end_turn", "max_tokens", "stop_sequence", "tool_use"]).nullable(),
  stop_sequence: z.string().nullable(),
  usage: z.looseObject({ input_tokens: count, output_tokens: count }),
});

const score = z.object({
  id,
  object: z.literal("list"),
  created,
  model: z.string(),
  data: z.array(z.object({ index: count, object: z.literal("score"), score: logprob })),
  usage,
});

const card = z.object({
  id,
  object: z.literal("model"),
  created,
  owned_by: z.string(),
  max_model_len: count,
});

const readiness = z.looseObject({ status: z.string() });

/** Also as a stream of server-sent events. */
const streamed = (schema: z.ZodType) => ({
  description: "The answer; with stream: true, server-sent events that make it",
  content: { "application/json": { schema }, "text/event-stream": { schema: z.string() } },
});

const plain = (description: string, type: string) => ({ description, content: { [type]: { schema: z.string() } } });

/** By method and URL. */
const answers: ReadonlyMap<string, unknown> = new Map(
  Object.entries({
    "POST /v1/completions": streamed(completion),
    "POST /v1/chat/completions": streamed(chatCompletion),
    "POST /v1/responses": streamed(response),
    "POST /v1/messages": streamed(message),
    "POST /v1/messages/count_tokens": z.object({ input_tokens: count }),
    "POST /v1/score": score,
    "POST /score": score,
    "POST /tokenize": z.object({
      count,
      max_model_len: count,
      tokens: tokenIds,
      token_strs: z.array(z.string()).nullable(),
    }),
    "POST /detokenize": z.object({ prompt: z.string() }),
    "GET /tokenizer_info": z.looseObject({
      vocab_size: count,
      model_max_length: count,
      chat_template: z.string().nullable(),
    }),
    "GET /v1/models": z.object({ object: z.literal("list"), data: z.array(card) }),
    "GET /v1/models/*": card,
    "GET /": z.looseObject({ endpoints: z.array(z.string()) }),
    "GET /ui/*": plain("A file of the web page", "text/html"),
    "GET /health": readiness,
    "GET /ready": readiness,
    "GET /health/ready": readiness,
    "GET /ping": readiness,
    "GET /health/live": readiness,
    "GET /version": z.object({ version: z.string() }),
    "GET /engine/stats": readiness,
    "GET /metrics": plain("Metrics in Prometheus' text format", "text/plain"),
    "GET /openapi.json": z.looseObject({ openapi: z.string() }),
  }),
);

/** What every route but Anthropic's fails with. */
const openAiError = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
});

const anthropicError = z.object({
  type: z.literal("error"),
  error: z.object({ type: z.string(), message: z.string() }),
});

/** What a route answers with where it succeeds, which is always 200, and where it fails. */
export const answersOf = (method: string, url: string) => ({
  200: answers.get(`${method} ${url}`) ?? z.unknown(),
  default: url.startsWith("/v1/messages") ? anthropicError : openAiError,
});
