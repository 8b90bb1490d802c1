import OpenAI from "openai";
import { EngineError } from "../../../src/errors";
import { type RunningServer, type ServeOptions, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";
import { failure, openaiConformance } from "../../helpers/openai-conformance";
import { until } from "../../helpers/until";

const servers: RunningServer[] = [];

async function start(modelOptions: FakeLanguageModelOptions = {}, options: ServeOptions = {}) {
  const model = new FakeLanguageModel(modelOptions);
  const server = await serve(model, { port: 0, drainTimeoutMs: 0, ...options });
  servers.push(server);
  const baseURL = `${server.url}/v1`;
  const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
  return { model, server, baseURL, client };
}

afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()));
});

const request = { model: "fake-mamba", prompt: "the river", max_tokens: 400, ignore_eos: true };
const chat = { model: "fake-mamba", messages: [{ role: "user" as const, content: "the river" }] };

describe("a fake model behind the official client", () => {
  let fake: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    fake = await start({ delayMs: 1 });
  });

  openaiConformance(() => ({ baseURL: fake.baseURL, model: "fake-mamba", running: () => fake.model.running }));
});

describe("errors", () => {
  it("maps overload to RateLimitError with Retry-After, in streams too", async () => {
    const { client } = await start({ maxRunning: 0 }, { retryAfterSeconds: 7 });
    for (const stream of [false, true]) {
      const error = await failure(client.completions.create({ ...request, stream }));
      expect(error).toBeInstanceOf(OpenAI.RateLimitError);
      expect(error).toMatchObject({ type: "rate_limit_error", code: "queue_full" });
      expect(error.headers?.get("retry-after")).toBe("7");
    }
  });

  it("lets the client retry after overload", async () => {
    const { model, client, baseURL } = await start({ maxRunning: 1, delayMs: 4 }, { retryAfterSeconds: 0 });
    const first = client.completions.create({ ...request, max_tokens: 5 });
    await until(() => model.running === 1);
    const patient = new OpenAI({ baseURL, apiKey: "none", maxRetries: 100 });
    expect((await patient.completions.create({ ...request, max_tokens: 2 })).usage!.completion_tokens).toBe(2);
    await first;
  });

  it.each(["completions", "chat"] as const)(
    "raises an error in mid-stream (%s) after the text before it",
    async (kind) => {
      const error = new EngineError("ERR_NON_FINITE", "layer 3 at /secret/path");
      const { client } = await start({ failure: { afterTokens: 3, error } });
      let events = 0;
      const read = async () => {
        const stream =
          kind === "chat"
            ? await client.chat.completions.create({ ...chat, stream: true })
            : await client.completions.create({ ...request, stream: true });
        for await (const _ of stream) events++;
      };
      const raised = await failure(read());
      expect(raised).toMatchObject({ code: "non_finite", type: "server_error" });
      expect(raised.message).not.toContain("secret");
      expect(events).toBeGreaterThanOrEqual(3);
    },
  );

  it("gives an error before the first token its status, in streams too", async () => {
    const error = new EngineError("ERR_NON_FINITE", "layer 3 at /secret/path");
    const { client } = await start({ failure: { afterTokens: 0, error } });
    for (const stream of [false, true]) {
      const raised = await failure(client.completions.create({ ...request, stream }));
      expect(raised).toBeInstanceOf(OpenAI.InternalServerError);
      expect(JSON.stringify(raised.error)).not.toContain("secret");
    }
  });

  it("says nothing about errors it does not know", async () => {
    const { client } = await start({ failure: { afterTokens: 0, error: new TypeError("oops at /secret/path") } });
    const raised = await failure(client.chat.completions.create(chat));
    expect(raised.error).toEqual({
      message: "internal error",
      type: "server_error",
      param: null,
      code: "internal_error",
    });
  });

  it("shows the client its request id", async () => {
    const { client } = await start();
    const headers = { "x-request-id": "my-id.1" };
    const { request_id } = await client.completions.create({ ...request, max_tokens: 1 }, { headers }).withResponse();
    expect(request_id).toBe("my-id.1");
    const stream = await client.completions.create({ ...request, stream: true }, { headers }).withResponse();
    expect(stream.request_id).toBe("my-id.1");
    stream.data.controller.abort();
  });
});

describe("aborts", () => {
  it("aborts the generations of a plain request when the client leaves", async () => {
    const { model, client } = await start({ delayMs: 10 });
    const leaving = new AbortController();
    const answer = expect(client.completions.create({ ...request, n: 16 }, { signal: leaving.signal })).rejects.toThrow(
      /abort/i,
    );
    await until(() => model.running === 16);
    leaving.abort();
    await answer;
    await until(() => model.running === 0);
    expect(model.aborted).toBe(16);
  });

  it("aborts before the first token of a stream", async () => {
    const { model, client } = await start({ delayMs: 60_000 });
    const leaving = new AbortController();
    const answer = expect(
      client.completions.create({ ...request, stream: true }, { signal: leaving.signal }),
    ).rejects.toThrow(/abort/i);
    await until(() => model.running === 1);
    leaving.abort();
    await answer;
    await until(() => model.running === 0);
    expect(model.aborted).toBe(1);
  });

  it("aborts a chat stream in the middle", async () => {
    const { model, client } = await start({ delayMs: 5, naturalLength: 1000 });
    const stream = await client.chat.completions.create({ ...chat, stream: true, n: 3 });
    for await (const _ of stream) break;
    await until(() => model.running === 0);
    expect(model.aborted).toBe(3);
  });

  it("survives 100 starts and aborts with nothing left running", async () => {
    const { model, client } = await start({ delayMs: 2 });
    const abort = async () => {
      const stream = await client.completions.create({ ...request, stream: true });
      for await (const _ of stream) break;
    };
    for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 10 }, abort));
    await until(() => model.running === 0);
    expect(model.aborted).toBe(100);
    expect((await client.completions.create({ ...request, max_tokens: 2 })).choices).toHaveLength(1);
  });

  it("aborts the other choices when one fails", async () => {
    const { model, client } = await start({ delayMs: 5, maxRunning: 2 });
    const error = await failure(client.completions.create({ ...request, n: 3 }));
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    await until(() => model.running === 0);
    expect(model.aborted).toBe(2);
  });

  it("ends a request that takes longer than allowed", async () => {
    const { model, client } = await start({ delayMs: 10 }, { generationTimeoutMs: 60 });
    expect(await failure(client.completions.create(request))).toMatchObject({ status: 504, code: "timeout" });
    await until(() => model.running === 0);
  });
});
