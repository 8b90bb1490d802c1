/** What no client should send, each with the status and the code that the API documents for it. */
import type { HttpRequest } from "./exchange";

export interface BadRequest {
  readonly name: string;
  readonly status: number;
  /** `code` of the error object; undefined where it does not matter. */
  readonly code?: string | null;
  /** A string is sent as it is, on a connection of its own. */
  readonly request: HttpRequest | string;
}

const completion = { prompt: "the king", max_tokens: 4 };
const chat = { messages: [{ role: "user", content: "hello" }], max_tokens: 4 };

const refused = (name: string, body: object, code: string | null = null, path = "/v1/completions"): BadRequest => ({
  name,
  status: 400,
  code,
  request: { path, body: JSON.stringify(body) },
});
const refusedChat = (name: string, body: object) => refused(name, body, null, "/v1/chat/completions");
const broken = (name: string, status: number, request: Partial<HttpRequest>): BadRequest => ({
  name,
  status,
  request: { path: "/v1/completions", body: JSON.stringify(completion), ...request },
});

const head = (field: string) =>
  `POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${field}\r\n\r\n`;

export function badRequests(model: { readonly vocabSize: number; readonly maxModelLen: number }): BadRequest[] {
  const tooMany = Array.from({ length: model.maxModelLen + 1 }, () => 1);
  return [
    refused("no prompt", { max_tokens: 4 }),
    refused("empty prompt", { ...completion, prompt: "" }),
    refused("empty list", { ...completion, prompt: [] }),
    refused("a number for a prompt", { ...completion, prompt: 7 }),
    refused("a token id that is none", { ...completion, prompt: [1, model.vocabSize] }),
    refused("a fraction of a token id", { ...completion, prompt: [1.5] }),
    refused("a mixed list", { ...completion, prompt: ["a", 1] }),
    refused("129 prompts", { ...completion, prompt: Array.from({ length: 129 }, () => "a") }),
    refused("one prompt of three too long", { ...completion, prompt: [[1], tooMany, [2]] }, "context_length_exceeded"),
    refused("tokens that do not fit", { ...completion, prompt: tooMany }, "context_length_exceeded"),
    refused("text that does not fit", { ...completion, prompt: "ship ".repeat(9000) }, "context_length_exceeded"),
    refused("megabytes of text", { ...completion, prompt: "ship ".repeat(400_000) }, "context_length_exceeded"),
    refused("output that does not fit", { ...completion, max_tokens: 1_000_000 }, "context_length_exceeded"),
    refused("no choices", { ...completion, n: 0 }),
    refused("too many choices", { ...completion, n: 1000 }),
    refused("negative max_tokens", { ...completion, max_tokens: -1 }),
    refused("max_tokens in words", { ...completion, max_tokens: "four" }),
    refused("temperature 3", { ...completion, temperature: 3 }),
    refused("top_p 0", { ...completion, top_p: 0 }),
    refused("top_k of a half", { ...completion, top_k: 0.5 }),
    refused("a penalty of 100", { ...completion, presence_penalty: 100 }),
    refused("a seed in words", { ...completion, seed: "seven" }),
    refused("21 log probabilities", { ...completion, logprobs: 21 }),
    refused("17 stop strings", { ...completion, stop: Array.from({ length: 17 }, (_, i) => `${i}`) }),
    refused("an empty stop string", { ...completion, stop: [""] }),
    refused("stream in words", { ...completion, stream: "yes" }),
    refused("stream options without a stream", { ...completion, stream_options: { include_usage: true } }),
    refusedChat("no messages", { ...chat, messages: [] }),
    refusedChat("messages that are none", { ...chat, messages: [7, null] }),
    refusedChat("a role that is none", { ...chat, messages: [{ role: "king", content: "x" }] }),
    refusedChat("content that is a number", { ...chat, messages: [{ role: "user", content: 7 }] }),
    refusedChat("top_logprobs alone", { ...chat, top_logprobs: 3 }),
    { ...refused("another model", { ...completion, model: "gpt-9" }, "model_not_found"), status: 404 },
    broken("no JSON", 400, { body: '{"prompt": "the ki' }),
    broken("JSON that is no object", 400, { body: "[1, 2]" }),
    broken("no body", 400, { body: "" }),
    broken("a body that is no UTF-8", 400, { body: Buffer.from([0x22, 0xff, 0xfe, 0x22]) }),
    broken("text/plain", 415, { headers: { "content-type": "text/plain" } }),
    broken("a compressed body", 415, { headers: { "content-encoding": "gzip" } }),
    broken("a host that is not this one", 403, { headers: { host: "example.com" } }),
    broken("no such path", 404, { path: "/v1/complete" }),
    broken("GET", 405, { method: "GET", body: "" }),
    // The answer comes before the body has been sent, and the connection ends: a client that writes on may not see it.
    { name: "a body above the limit", status: 413, request: head("content-length: 9000000") },
    { name: "no HTTP", status: 400, request: "HELO soak\r\n\r\n" },
    { name: "headers without end", status: 431, request: head(`x: ${"y".repeat(40_000)}`) },
  ];
}
