import "../../helpers/allow-inject";
import { once } from "node:events";
import net from "node:net";
import type { EngineHealth } from "../../../src/engine/policy/request";
import { buildApp } from "../../../src/server/app";
import { serve } from "../../../src/server/serve";
import { FakeLanguageModel } from "../../helpers/fake-language-model";
import { until } from "../../helpers/until";

const model = new FakeLanguageModel();
const app = buildApp(model, { retryAfterSeconds: 3 });
afterAll(() => app.close());

const health = (fields: Partial<EngineHealth>): EngineHealth => ({
  state: "ready",
  progress: null,
  restarts: 0,
  ...fields,
});

describe.each(["/health", "/ready"])("GET %s", (url) => {
  it("is 200 while requests are taken, also after a restart", async () => {
    for (const restarts of [0, 2]) {
      model.currentHealth = health({ restarts });
      const response = await app.inject(url);
      expect({ status: response.statusCode, body: response.json() }).toEqual({ status: 200, body: { status: "ok" } });
    }
  });

  it.each<[Partial<EngineHealth>, RegExp]>([
    [{ state: "loading", progress: 0.25 }, /being loaded/],
    [{ state: "restarting", restarts: 1 }, /started again/],
    [{ state: "stalled" }, /no sign of life/],
    [{ state: "stopped" }, /stopped/],
  ])("is 503 and says why: %j", async (fields, message) => {
    model.currentHealth = health(fields);
    const response = await app.inject(url);
    expect(response.statusCode).toBe(503);
    expect(response.headers["retry-after"]).toBe("3");
    const { state, progress, restarts } = model.currentHealth;
    expect(response.json()).toEqual({ status: state, message: expect.stringMatching(message), progress, restarts });
  });
});

it("GET /health/live asks for the server only", async () => {
  model.currentHealth = health({ state: "restarting" });
  const response = await app.inject("/health/live");
  expect({ status: response.statusCode, body: response.json() }).toEqual({ status: 200, body: { status: "ok" } });
});

it("while it drains the server is alive and not ready", async () => {
  const slow = new FakeLanguageModel({ delayMs: 10 });
  const server = await serve(slow, { port: 0 });
  /** A connection that is open already when draining begins; gives the answer to the one request it gets after that. */
  const connection = async () => {
    const socket = net.connect({ port: Number(new URL(server.url).port), host: "127.0.0.1" });
    let answers = "";
    socket.on("data", (data) => {
      answers += data;
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    // A body that has not come yet keeps the connection from being idle.
    socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n");
    await once(socket, "data");
    return async (path: string) => {
      const before = answers.length;
      socket.write(`xGET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await closed;
      return answers.slice(before);
    };
  };
  const stream = fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "the river", ignore_eos: true, max_tokens: 50, stream: true }),
  });
  const [first, second, third, fourth] = [
    await connection(),
    await connection(),
    await connection(),
    await connection(),
  ];
  await until(() => slow.running === 1);
  const closing = server.close();
  const answers = [first("/health/live"), second("/ready"), third("/version"), fourth("/metrics")];
  expect(await Promise.all(answers)).toEqual([
    expect.stringMatching(/^HTTP\/1.1 200 OK[\s\S]*"ok"/),
    expect.stringMatching(/^HTTP\/1.1 503 [\s\S]*"draining"/),
    expect.stringMatching(/^HTTP\/1.1 503 [\s\S]*"closed"/),
    expect.stringMatching(/^HTTP\/1.1 200 OK[\s\S]*num_requests_running/),
  ]);
  expect(await (await stream).text()).toContain("[DONE]");
  await closing;
});
