import { execFile } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { promisify } from "node:util";
import { buildApp } from "../../../src/server/app";
import type { ServerOptions } from "../../../src/server/options";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";
import { until } from "../../helpers/until";

const closers: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(closers.map((close) => close())));

async function listen(options: Partial<ServerOptions> = {}, modelOptions: FakeLanguageModelOptions = {}) {
  const model = new FakeLanguageModel(modelOptions);
  const app = buildApp(model, { drainTimeoutMs: 0, ...options });
  await app.listen({ host: "127.0.0.1", port: 0 });
  closers.push(() => app.close());
  return { model, app, port: (app.server.address() as net.AddressInfo).port };
}

/** A raw connection; `received` grows, `closed` resolves when the server has closed it. */
function connect(port: number, allowHalfOpen = false) {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen });
  const state = { socket, received: "", closed: new Promise<void>((resolve) => socket.on("close", () => resolve())) };
  socket.on("data", (data) => {
    state.received += data;
  });
  socket.on("error", () => {});
  return state;
}

/** Sends bytes, waits for the server to close and returns what it said. */
async function exchange(port: number, ...parts: string[]): Promise<string> {
  const connection = connect(port);
  for (const part of parts) connection.socket.write(part);
  await connection.closed;
  return connection.received;
}

const body = '{"prompt":"the river","max_tokens":2}';
const head = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
const health = "GET /health HTTP/1.1\r\nHost: localhost\r\n";

/** Status and OpenAI error of a raw answer. */
function parse(answer: string) {
  const [top, content] = answer.split("\r\n\r\n");
  return { status: Number(top!.split(" ")[1]), error: JSON.parse(content!).error };
}

describe("slow and malformed requests", () => {
  const limits = { headersTimeoutMs: 200, receiveTimeoutMs: 400 };

  it.each([
    ["slow headers", "GET /health HTTP/1.1\r\nHost: loc"],
    ["a slow body", `${head}Content-Length: 100\r\n\r\n{"pro`],
  ])("408 for %s", async (_, start) => {
    const { port } = await listen(limits);
    const answer = parse(await exchange(port, start));
    expect(answer.status).toBe(408);
    expect(answer.error).toMatchObject({ type: "invalid_request_error", param: null, code: null });
  });

  it("does not cut an answer that takes longer than a request may", async () => {
    const { port } = await listen({ ...limits, receiveTimeoutMs: 250 }, { delayMs: 300 });
    expect(await exchange(port, request.replace("\r\n", "\r\nConnection: close\r\n"))).toMatch(/^HTTP\/1.1 200/);
  });

  it.each([
    ["headers of 20 KB", `${health}X-Long: ${"x".repeat(20_000)}\r\n\r\n`, 431],
    ["3,000 headers", `${health}${Array.from({ length: 3000 }, (_, i) => `x-${i}: 1`).join("\r\n")}\r\n\r\n`, 431],
    ["two body lengths", `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ["bare line feeds", "GET /health HTTP/1.1\nHost: localhost\n\n", 400],
    ["no HTTP", "hello there\r\n\r\n", 400],
  ])("%s", async (_, bytes, status) => {
    const { port } = await listen();
    const answer = parse(await exchange(port, bytes));
    expect(answer.status).toBe(status);
    expect(answer.error.type).toBe("invalid_request_error");
  });

  it("431 ends in a close and not in a reset, however much the client has sent", async () => {
    const { port } = await listen();
    // In a process of its own: in this one the server has always read what the client has written.
    const program = `
      const attempt = () => new Promise((resolve) => {
        let answer = "";
        let fault = "";
        const socket = require("node:net").connect(${port}, "127.0.0.1", () =>
          socket.write(${JSON.stringify(health)} + "X-Long: " + "x".repeat(400_000) + "\\r\\n\\r\\n"));
        socket.on("data", (data) => { answer += data; });
        socket.on("error", ({ code }) => { fault = code; });
        socket.on("close", () => resolve(fault || answer.slice(0, 12)));
      });
      (async () => {
        const outcomes = new Set();
        for (let i = 0; i < 150; i++) outcomes.add(await attempt());
        console.log([...outcomes].join());
      })();`;
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", program]);
    expect(stdout.trim()).toBe("HTTP/1.1 431");
  });

  it("413 for a chunked body over the limit, then closes", async () => {
    const { port } = await listen({ bodyLimit: 1000 });
    const chunk = `200\r\n${"x".repeat(512)}\r\n`;
    const answer = await exchange(port, `${head}Transfer-Encoding: chunked\r\n\r\n`, chunk, chunk);
    expect(answer).toMatch(/^HTTP\/1.1 413[\s\S]*"error"/);
  });

  it("takes a body in one-byte chunks", async () => {
    const { port } = await listen();
    const chunks = [...body].map((character) => `1\r\n${character}\r\n`);
    const start = `${head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
    expect(await exchange(port, start, ...chunks, "0\r\n\r\n")).toMatch(/^HTTP\/1.1 200/);
  });
});

describe("connections", () => {
  it("answers pipelined requests in order", async () => {
    const { port } = await listen();
    const last = request.replace("\r\n", "\r\nConnection: close\r\nX-Request-Id: c\r\n");
    const first = request.replace("\r\n", "\r\nX-Request-Id: a\r\n");
    const second = `${health}X-Request-Id: b\r\n\r\n`;
    const answer = await exchange(port, first + second + last);
    expect([...answer.matchAll(/x-request-id: (\w)/g)].map((match) => match[1])).toEqual(["a", "b", "c"]);
  });

  it("answers connections beyond maxConnections with 503; streams go on", async () => {
    const { port } = await listen({ maxConnections: 3 }, { delayMs: 5 });
    const stream = connect(port);
    const long = '{"prompt":"the river","max_tokens":40,"ignore_eos":true,"stream":true}';
    stream.socket.write(`${head}Connection: close\r\nContent-Length: ${long.length}\r\n\r\n${long}`);
    await until(() => stream.received.includes("data:"));
    const others = Array.from({ length: 20 }, () => connect(port));
    await Promise.all(others.map(({ socket }) => once(socket, "connect")));
    for (const { socket } of others) socket.write(`${health}\r\n`);
    const beyond = others.slice(2);
    await Promise.all(beyond.map(({ closed }) => closed));
    for (const { received } of beyond) {
      expect(received).toMatch(/^HTTP\/1.1 503 [\s\S]*connection: close[\s\S]*"too_many_connections"/i);
      expect(received).toMatch(/retry-after: 1/i);
    }
    for (const { received } of others.slice(0, 2)) expect(received).toMatch(/^HTTP\/1.1 200/);
    await stream.closed;
    expect(stream.received).toContain("[DONE]");
    for (const { socket } of others) socket.destroy();
    // Their places are free again, soon after.
    await until(async () => (await exchange(port, `${health}Connection: close\r\n\r\n`)).startsWith("HTTP/1.1 200"));
  });

  it("aborts when the client half-closes: to HTTP it has left", async () => {
    const { port, model } = await listen({}, { delayMs: 5 });
    const long = '{"prompt":"the river","max_tokens":4000,"ignore_eos":true,"stream":true}';
    const client = connect(port, true);
    client.socket.write(`${head}Content-Length: ${long.length}\r\n\r\n${long}`);
    await until(() => client.received.includes("data:"));
    client.socket.end();
    await until(() => model.running === 0);
    expect(model.aborted).toBe(1);
    client.socket.destroy();
  });
});
