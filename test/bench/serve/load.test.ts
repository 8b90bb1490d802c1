import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { generateLoad, type LoadPlan, type LoadProgress } from "../../../src/bench/serve/load";

type Answer = (response: ServerResponse, request: IncomingMessage, body: string) => unknown;

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A server that gives request i the answer i, and the last one to all after it. */
async function serving(...answers: readonly Answer[]) {
  const seen: { path: string; body: string; headers: IncomingMessage["headers"]; port: number }[] = [];
  let running = 0;
  const most = { running: 0 };
  server = createServer(async (request, response) => {
    const answer = answers[Math.min(seen.length, answers.length - 1)]!;
    const place = { path: request.url!, body: "", headers: request.headers, port: request.socket.remotePort! };
    seen.push(place);
    running += 1;
    most.running = Math.max(most.running, running);
    response.on("close", () => {
      running -= 1;
    });
    place.body = await text(request);
    answer(response, request, place.body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, most };
}

function run(baseUrl: string, count: number, fields: Partial<LoadPlan> = {}, onProgress = (_: LoadProgress) => {}) {
  return generateLoad(
    {
      target: { baseUrl, endpoint: "/v1/completions", apiKey: null },
      bodies: Array.from({ length: count }, (_, i) => `{"prompt":"${i}"}`),
      arrivals: new Array<number>(count).fill(0),
      maxConcurrency: null,
      numWarmups: 0,
      keepText: true,
      timeoutMs: 5000,
      ...fields,
    },
    onProgress,
  );
}

const event = (data: object | string) => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
const piece = (content: string, finish_reason: string | null = null) =>
  event({ choices: [{ text: content, finish_reason }] });
const usage = event({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } });
const good = (response: ServerResponse) => response.end(piece("a") + piece("b", "length") + usage + event("[DONE]"));
const json = (status: number, body: unknown): Answer => {
  return (response) => response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
};

async function errorOf(answer: Answer, timeoutMs: number): Promise<string> {
  const { baseUrl } = await serving(answer);
  const { outcomes } = await run(baseUrl, 1, { timeoutMs });
  expect(outcomes).toMatchObject([{ success: false, ttft: 0, itls: [], latency: 0 }]);
  return outcomes[0]!.error;
}

test("outcomes are in the order of the requests, with times, tokens and texts", async () => {
  const { baseUrl, seen } = await serving((response, _, body) => {
    if (body !== '{"prompt":"0"}') return good(response);
    response.write(piece("x"));
    return setTimeout(() => good(response), 5);
  });
  const { outcomes, duration, loopDelayP99Ms } = await run(baseUrl, 2, {
    target: { baseUrl, endpoint: "/v1/completions", apiKey: "key" },
  });
  expect(outcomes.map((outcome) => [outcome.text, outcome.itls.length])).toEqual([
    ["xab", 2],
    ["ab", 1],
  ]);
  const [first] = outcomes;
  expect(first).toMatchObject({ success: true, promptTokens: 3, outputTokens: 2, cachedTokens: null, error: "" });
  expect(first!.itls[0]).toBeGreaterThan(0);
  expect(first!.latency).toBeCloseTo(first!.ttft + first!.itls[0]! + first!.itls[1]!, 9);
  expect(duration).toBeGreaterThanOrEqual(first!.latency);
  expect(loopDelayP99Ms).toBeGreaterThanOrEqual(0);
  expect(seen.map(({ path, body }) => `${path} ${body}`).sort()).toEqual([
    '/v1/completions {"prompt":"0"}',
    '/v1/completions {"prompt":"1"}',
  ]);
  expect(seen[0]!.headers.authorization).toBe("Bearer key");
});

test("no more run at once than allowed; the others wait in their order, over connections that stay open", async () => {
  const { baseUrl, seen, most } = await serving((response) => setTimeout(() => good(response), 10));
  const { outcomes } = await run(baseUrl, 9, { maxConcurrency: 3 });
  expect(most.running).toBe(3);
  const starts = outcomes.map(({ startTime }) => startTime);
  expect(starts).toEqual(starts.toSorted((a, b) => a - b));
  expect(new Set(seen.map(({ port }) => port)).size).toBe(3);
  // The last one waits until six others have been answered, and says so.
  const ends = outcomes.map(({ startTime, latency }) => startTime + latency).toSorted((a, b) => a - b);
  expect(starts[8]!).toBeGreaterThanOrEqual(ends[5]!);
  expect(outcomes[8]!.queueTime).toBeGreaterThan(outcomes[0]!.queueTime);
});

test("no request is sent before it arrives", async () => {
  const { baseUrl } = await serving(good);
  const begun = performance.now() / 1000;
  const arrivals = [0, 0.05, 0.1];
  const { outcomes } = await run(baseUrl, 3, { arrivals });
  // A timer may be a millisecond early.
  for (const [i, { startTime }] of outcomes.entries()) expect(startTime - begun).toBeGreaterThan(arrivals[i]! - 0.002);
});

test("warm-ups are copies of the first request and are not counted", async () => {
  const { baseUrl, seen } = await serving(good);
  const progress: LoadProgress[] = [];
  const { outcomes } = await run(baseUrl, 2, { numWarmups: 3 }, (each) => progress.push(each));
  expect(seen.map(({ body }) => body).sort()).toEqual([...new Array(4).fill('{"prompt":"0"}'), '{"prompt":"1"}']);
  expect(outcomes).toHaveLength(2);
  expect(progress.at(-1)).toEqual({ phase: "run", done: 2, failed: 0, total: 2 });
});

test("characters that are cut between two packets", async () => {
  const bytes = Buffer.from(piece("日本é", "stop"));
  const { baseUrl } = await serving((response) => {
    const cut = bytes.indexOf("日") + 1;
    response.write(bytes.subarray(0, cut));
    setTimeout(() => response.end(bytes.subarray(cut)), 10);
  });
  const { outcomes } = await run(baseUrl, 1);
  expect(outcomes).toMatchObject([{ success: true, text: "日本é" }]);
});

test("a bad answer fails its own request only", async () => {
  const { baseUrl } = await serving(good, json(500, { error: { message: "boom" } }), good);
  const progress: LoadProgress[] = [];
  const { outcomes } = await run(baseUrl, 3, { maxConcurrency: 1 }, (each) => progress.push(each));
  expect(outcomes.map(({ success, error }) => [success, error])).toEqual([
    [true, ""],
    [false, "HTTP 500 Internal Server Error: boom"],
    [true, ""],
  ]);
  expect(progress.at(-1)).toMatchObject({ done: 3, failed: 1, total: 3 });
});

test.each<[string, Answer, string | RegExp]>([
  [
    "an error in OpenAI's shape",
    json(429, { error: { message: "slow down" } }),
    "HTTP 429 Too Many Requests: slow down",
  ],
  ["an error as text", json(502, "<html>"), "HTTP 502 Bad Gateway: <html>"],
  ["an error in FastAPI's shape", json(404, { detail: "Not Found" }), "HTTP 404 Not Found: Not Found"],
  ["an error without a body", json(500, ""), "HTTP 500 Internal Server Error"],
  ["an endless error body", (response) => void endless(response.writeHead(500)), /^HTTP 500 .*: xxx/],
  ["no stream", json(200, { choices: [{ text: "whole" }] }), "the answer ended without any output"],
  [
    "an error frame",
    (response) => response.end(piece("a") + event({ error: { message: "lost" } })),
    "error frame: lost",
  ],
  [
    "an answer that stops",
    (response) => response.end(piece("a")),
    "the stream ended early: neither finish_reason nor [DONE] came",
  ],
  [
    "a cut connection",
    (response) => {
      response.write(piece("a"));
      setTimeout(() => response.destroy(), 20);
    },
    "the connection broke after 1 outputs: aborted",
  ],
  ["a connection that is closed at once", (response) => response.destroy(), "socket hang up"],
  ["silence", () => {}, "no end within 0.3 s (--request-timeout)"],
  [
    "silence in the middle",
    (response) => response.write(piece("a")),
    "the connection broke after 1 outputs: no end within 0.3 s (--request-timeout)",
  ],
])("%s", async (_, answer, expected) => {
  // Only an answer that never comes runs into its limit, on a busy machine too.
  const timeoutMs = String(expected).includes("no end within 0.3 s") ? 300 : 30_000;
  expect(await errorOf(answer, timeoutMs)).toEqual(
    typeof expected === "string" ? expected : expect.stringMatching(expected),
  );
});

test("no server: every request fails, and says why", async () => {
  const { baseUrl } = await serving(good);
  server!.close();
  await once(server!, "close");
  const { outcomes } = await run(baseUrl, 2);
  for (const { error } of outcomes) expect(error).toMatch(/^connect ECONNREFUSED/);
});

test("a connection that the server resets when it is used again is no failure", async () => {
  const used = new Set<unknown>();
  const { baseUrl, seen } = await serving((response, { socket }) => {
    if (used.has(socket)) socket.resetAndDestroy();
    else good(response);
    used.add(socket);
  });
  const { outcomes } = await run(baseUrl, 2, { maxConcurrency: 1 });
  expect(outcomes).toMatchObject([{ success: true }, { success: true }]);
  expect(seen.map(({ body }) => body)).toEqual(['{"prompt":"0"}', '{"prompt":"1"}', '{"prompt":"1"}']);
});

function endless(response: ServerResponse): void {
  const more = () => {
    while (!response.destroyed && response.write("x".repeat(1000)));
  };
  response.on("drain", more);
  more();
}
