import "../../helpers/allow-inject";
import http from "node:http";
import { join } from "node:path";
import { EngineError } from "../../../src/errors";
import { buildApp } from "../../../src/server/app";
import type { ServerOptions } from "../../../src/server/options";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";
import { until } from "../../helpers/until";
import { makeTestDir } from "../../weights/files";

const closers: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(closers.map((close) => close())));

function build(modelOptions: FakeLanguageModelOptions = {}, options: Partial<ServerOptions> = {}) {
  const model = new FakeLanguageModel(modelOptions);
  const app = buildApp(model, { drainTimeoutMs: 0, ...options });
  closers.push(() => app.close());
  const post = (path: string, payload: object) => app.inject({ method: "POST", url: `/v1/${path}`, payload });
  return { model, app, post };
}

/** The `data:` lines of a stream; fails on anything that is neither data, a comment nor an empty line. */
function dataLines(body: string): string[] {
  const lines = body.split("\n").filter((line) => line !== "" && !line.startsWith(":"));
  expect(lines.filter((line) => !line.startsWith("data: "))).toEqual([]);
  return lines.map((line) => line.slice("data: ".length));
}

/** Events without what differs from run to run. */
function events(body: string) {
  const lines = dataLines(body);
  expect(lines.pop()).toBe("[DONE]");
  return lines.map((line) => {
    const { id, created, ...rest } = JSON.parse(line);
    return rest;
  });
}

const completion = { prompt: "the river", max_tokens: 3, temperature: 0, stream: true };
const chat = { messages: [{ role: "user", content: "the river" }], max_tokens: 2, temperature: 0, stream: true };

describe("the format", () => {
  it("of the head", async () => {
    const { headers, statusCode } = await build().post("completions", completion);
    expect(statusCode).toBe(200);
    expect(headers).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
      "x-request-id": expect.any(String),
    });
  });

  it("of a completion", async () => {
    const { post } = build();
    const { text } = (await post("completions", { ...completion, stream: false })).json().choices[0];
    const sent = events((await post("completions", completion)).body);
    expect(sent.map((event) => event.choices[0].text).join("")).toBe(text);
    expect(sent).toEqual(
      [null, null, "length"].map((finish_reason) => ({
        object: "text_completion",
        model: "fake-mamba",
        choices: [{ index: 0, text: expect.any(String), logprobs: null, finish_reason }],
      })),
    );
  });

  it("of a chat", async () => {
    const { post } = build();
    const sent = events((await post("chat/completions", { ...chat, stream_options: { include_usage: true } })).body);
    const choice = (delta: object, finish_reason: string | null = null) => ({
      object: "chat.completion.chunk",
      model: "fake-mamba",
      choices: [{ index: 0, delta, logprobs: null, finish_reason }],
      usage: null,
    });
    expect(sent).toEqual([
      choice({ role: "assistant", content: "" }),
      choice({ content: expect.any(String) }),
      choice({ content: expect.any(String) }),
      choice({}, "length"),
      {
        object: "chat.completion.chunk",
        model: "fake-mamba",
        choices: [],
        usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, prompt_tokens_details: { cached_tokens: 0 } },
      },
    ]);
  });

  it("of log probabilities: what the streamed parts hold is what the whole answer holds", async () => {
    const { post } = build();
    const request = { ...completion, logprobs: 2, stop: "no such text in the output" };
    const { logprobs } = (await post("completions", { ...request, stream: false })).json().choices[0];
    const parts = events((await post("completions", request)).body).map((event) => event.choices[0].logprobs);
    for (const key of ["tokens", "token_logprobs", "top_logprobs", "text_offset"]) {
      expect(parts.flatMap((part) => part[key])).toEqual(logprobs[key]);
    }
    expect(logprobs.text_offset[0]).toBe(0);
    expect(logprobs.text_offset[1]).toBe([...logprobs.tokens[0]].length);
    expect(Object.keys(logprobs.top_logprobs[0])[0]).toBeDefined();
    const none = (await post("completions", { ...completion, stream: false, logprobs: 0 })).json().choices[0];
    expect(none.logprobs.top_logprobs).toBeNull();
  });

  it("of several choices: each has its own role, text and end", async () => {
    const { post } = build({ delayMs: 1 });
    const sent = events((await post("chat/completions", { ...chat, n: 3 })).body);
    for (const index of [0, 1, 2]) {
      const own = sent.filter((event) => event.choices[0].index === index).map((event) => event.choices[0]);
      expect(own[0].delta.role).toBe("assistant");
      expect(own.filter((choice) => choice.finish_reason !== null)).toEqual([own.at(-1)]);
    }
  });

  it("of an error in the middle: what came before, the error, [DONE]", async () => {
    const error = new EngineError("ERR_DEVICE_LOST", "cuda error 700 at 0x7fff");
    const { post } = build({ failure: { afterTokens: 2, error } });
    const sent = dataLines((await post("completions", completion)).body);
    expect(sent).toHaveLength(4);
    expect(JSON.parse(sent[2]!).error).toMatchObject({ type: "server_error", code: "device_lost", param: null });
    expect(sent[2]).not.toContain("0x7fff");
    expect(sent[3]).toBe("[DONE]");
  });
});

describe("time", () => {
  it("sends comments while nothing else is sent, before the first token too", async () => {
    const { post } = build({ delayMs: 300 }, { pingIntervalMs: 20 });
    const { body } = await post("completions", { ...completion, max_tokens: 2 });
    expect(body.startsWith(": ping\n\n")).toBe(true);
    expect(body.match(/: ping\n\n/g)!.length).toBeGreaterThanOrEqual(4);
    expect(events(body)).toHaveLength(2);
  });

  it("turns an error after the first comment into an event", async () => {
    const error = new EngineError("ERR_NON_FINITE", "x");
    const { post } = build({ delayMs: 50, failure: { afterTokens: 0, error } }, { pingIntervalMs: 10 });
    const response = await post("completions", completion);
    expect(response.statusCode).toBe(200);
    expect(JSON.parse(dataLines(response.body)[0]!).error.code).toBe("non_finite");
  });
});

describe("a client that does not read", () => {
  /** Opens a stream of large events and leaves the socket unread. */
  async function unread(options: Partial<ServerOptions>) {
    const { model, app, post } = build({ maxModelLen: 10_000_000 }, options);
    // It holds 0.2 MB; a TCP connection takes some 10 before its writer has to wait.
    const dir = makeTestDir();
    closers.push(async () => dir.remove());
    const socketPath = join(dir.path, "socket");
    await app.listen({ path: socketPath });
    const body = JSON.stringify({ ...completion, max_tokens: 1_000_000, ignore_eos: true, logprobs: 20 });
    const request = http.request({ socketPath, method: "POST", path: "/v1/completions" });
    request.setHeader("content-type", "application/json");
    request.on("error", () => {});
    request.end(body);
    const response = await new Promise<http.IncomingMessage>((resolve) => request.on("response", resolve));
    response.on("error", () => {});
    return { model, post, response };
  }

  it("is disconnected after stallTimeoutMs, its generation aborted; others are served meanwhile", async () => {
    const { model, post, response } = await unread({ stallTimeoutMs: 300 });
    expect((await post("completions", { ...completion, stream: false })).statusCode).toBe(200);
    expect(model.running).toBe(1);
    await until(() => model.running === 0);
    expect(model.aborted).toBe(1);
    response.destroy();
  });
});
