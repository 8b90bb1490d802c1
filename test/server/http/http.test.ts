import "../../helpers/allow-inject";
import { gzipSync } from "node:zlib";
import type { InjectOptions } from "fastify";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const limit = 2 * 1024 * 1024;
const app = buildApp(new FakeLanguageModel({ id: "organisation/model" }), { bodyLimit: limit });
const url = "/v1/completions";
const json = { "content-type": "application/json" };
const good = '{"prompt":"the river","max_tokens":2}';

afterAll(() => app.close());

/** Sends bytes as they are. */
const post = (payload: string | Buffer, headers: Record<string, string> = json) =>
  app.inject({ method: "POST", url, payload, headers });

afterEach(async () => {
  expect((await post(good)).statusCode).toBe(200);
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

describe("bodies that are no request", () => {
  const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key${i}`, 1])));
  it.each<[string, string | Buffer]>([
    ["nothing", ""],
    ["null", "null"],
    ["a list", "[]"],
    ["a string", '"x"'],
    ["a number", "5"],
    ["half of an object", '{"prompt":"the ri'],
    ["invalid UTF-8", Buffer.concat([Buffer.from('{"prompt":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])],
    ["a trailing comma", '{"prompt":"x",}'],
    ["50,000 nested lists", "[".repeat(50_000) + "]".repeat(50_000)],
    ["50,000 unclosed lists", "[".repeat(50_000)],
    ["201 nested lists", "[".repeat(201) + "]".repeat(201)],
    ["150,000 keys", `{${Array.from({ length: 150_000 }, (_, i) => `"k${i}":1`).join()}}`],
    ["200,000 lists", `[${"[],".repeat(200_000)}[]]`],
  ])("%s", async (_, payload) => {
    const response = await post(payload);
    expect(response.statusCode).toBe(400);
    expect(response.json().error).toMatchObject({ type: "invalid_request_error", param: null, code: null });
    expect(response.body).not.toMatch(/\bat .*\.[jt]s/);
  });

  it.each([
    ["a __proto__ key", '"__proto__":{"polluted":1,"max_tokens":7}'],
    ["an escaped __proto__ key", '"__pr\\u006fto__":{"polluted":1}'],
    ["a nested __proto__ key", '"metadata":{"__proto__":{"polluted":1}}'],
    ["one in a bias", '"stream_options":{"__proto__":{"include_usage":true}},"stream":true'],
    ["a constructor.prototype key", '"constructor":{"prototype":{"polluted":1}}'],
  ])("%s is a field like any other", async (_, member) => {
    const response = await post(`{"prompt":"x","max_tokens":2,${member}}`);
    expect(response.statusCode).toBe(200);
    expect(response.body).not.toContain("polluted");
  });

  it("says where it is not JSON", async () => {
    const response = await post('{"prompt": "x",\n  max_tokens: 5}');
    expect(response.json().error.message).toBe(
      'the request body cannot be read as JSON: expected a key in quotes, but there is "m" at line 2, column 3',
    );
  });

  it("1e400 where a number is expected", async () => {
    const response = await post('{"prompt":"x","max_tokens":1e400}');
    expect(response.json().error).toMatchObject({ param: "max_tokens" });
  });

  it("100,000 unknown fields do no harm", async () => {
    const response = await post(`${wide.slice(0, -1)},"prompt":"x"}`);
    expect(response.statusCode).toBe(200);
  });

  it("deep nesting inside a field", async () => {
    const response = await post(`{"prompt":${"[".repeat(150)}${"]".repeat(150)}}`);
    expect(response.json().error).toMatchObject({ param: "prompt[0][0]" });
  });

  it("the last of equal keys counts, a byte order mark is skipped", async () => {
    const response = await post('\ufeff{"prompt":"x","max_tokens":9,"max_tokens":2}');
    expect(response.json().usage.completion_tokens).toBe(2);
  });

  it("NUL, lone surrogates and a long prompt are text", async () => {
    for (const prompt of ["\\u0000", "\\ud800", "a".repeat(1_000_000), "🪨".repeat(250_000)]) {
      expect((await post(`{"prompt":"${prompt}","max_tokens":1}`)).statusCode).toBe(200);
    }
  });
});

it("long bodies are read a slice in each turn of the event loop, and those of one client do not add up", async () => {
  const bytes = 1 << 20;
  let turns = 0;
  const count = () => {
    turns++;
    timer = setImmediate(count);
  };
  let timer = setImmediate(count);
  const body = `{"prompt":${" ".repeat(bytes)}"the river","max_tokens":2}`;
  const responses = await Promise.all(Array.from({ length: 4 }, () => post(body)));
  clearImmediate(timer);
  expect(responses.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200]);
  expect(turns).toBeGreaterThan((4 * bytes) / (1 << 14));
});

describe("what HTTP says is wrong", () => {
  it("413 one byte over the limit, 200 at it", async () => {
    const sized = (bytes: number) => `${good.slice(0, -1)},"user":"${"x".repeat(bytes - good.length - 10)}"}`;
    expect(sized(limit)).toHaveLength(limit);
    expect((await post(sized(limit))).statusCode).toBe(200);
    const response = await post(sized(limit + 1));
    expect(response.statusCode).toBe(413);
    expect(response.json().error.type).toBe("invalid_request_error");
    expect(response.headers.connection).toBe("close");
  });

  it.each<[string, Record<string, string>]>([
    ["text/plain", { "content-type": "text/plain" }],
    ["a form", { "content-type": "application/x-www-form-urlencoded" }],
    ["multipart", { "content-type": "multipart/form-data; boundary=x" }],
    ["no type", {}],
    ["nonsense", { "content-type": "json" }],
  ])("415 for %s", async (_, headers) => {
    const response = await post(Buffer.from(good), headers);
    expect(response.statusCode).toBe(415);
    expect(response.json().error.message).toContain("application/json");
  });

  it("415 for a compressed body, which is not inflated", async () => {
    const bomb = gzipSync(Buffer.alloc(10_000_000, " "));
    const response = await post(bomb, { ...json, "content-encoding": "gzip" });
    expect(response.statusCode).toBe(415);
    expect((await post(good, { ...json, "content-encoding": "identity" })).statusCode).toBe(200);
  });

  it.each<[InjectOptions, string]>([
    [{ method: "GET", url: "/v1/completions" }, "POST"],
    [{ method: "DELETE", url: "/v1/chat/completions" }, "POST"],
    [{ method: "PUT", url: "/v1/completions", payload: "x" }, "POST"],
    [{ method: "POST", url: "/v1/models", payload: {} }, "GET, HEAD"],
    [{ method: "DELETE", url: "/v1/models/organisation/model" }, "GET, HEAD"],
    [{ method: "POST", url: "/health", payload: {} }, "GET, HEAD"],
    [{ method: "OPTIONS", url: "/v1/completions" }, "POST"],
  ])("405 and Allow for %j", async (request, allow) => {
    const response = await app.inject(request);
    expect(response.statusCode).toBe(405);
    expect(response.headers.allow).toBe(allow);
    expect(response.headers["access-control-allow-origin"]).toBeUndefined();
    expect(response.json().error.type).toBe("invalid_request_error");
  });

  it.each([
    ["/nope", 404],
    ["/v1/completions/", 404],
    ["/v1/../etc/passwd", 404],
    ["/v1/models/nope", 404],
    ["/v1/models/..%2f..%2fetc%2fpasswd", 404],
    ["/v1/models/%zz", 400],
    [`/v1/models/${"x".repeat(5000)}`, 404],
  ])("a JSON error for %.40s", async (path, status) => {
    const response = await app.inject(path);
    expect(response.statusCode).toBe(status);
    expect(response.json().error).toMatchObject({ type: "invalid_request_error" });
    expect(response.headers["x-request-id"]).toBeDefined();
    expect(response.body.length).toBeLessThan(400);
  });
});

describe("small endpoints", () => {
  it("GET /health, HEAD /health, GET /version, GET /", async () => {
    expect((await app.inject("/health")).json()).toEqual({ status: "ok" });
    expect((await app.inject({ method: "HEAD", url: "/health" })).statusCode).toBe(200);
    expect((await app.inject("/version")).json()).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    const index = (await app.inject("/")).json();
    expect(index).toMatchObject({ name: "mamba-serve", model: "organisation/model" });
    expect(index.endpoints).toEqual([
      "GET /",
      "GET /ui/*",
      "GET /health",
      "GET /ready",
      "GET /health/ready",
      "GET /ping",
      "GET /health/live",
      "GET /version",
      "GET /engine/stats",
      "GET /metrics",
      "GET /openapi.json",
      "GET /v1/models",
      "GET /v1/models/*",
      "POST /v1/completions",
      "POST /v1/chat/completions",
      "POST /v1/responses",
      "POST /v1/messages",
      "POST /v1/messages/count_tokens",
      "POST /v1/score",
      "POST /score",
      "POST /tokenize",
      "POST /detokenize",
      "GET /tokenizer_info",
    ]);
  });

  it("names the model, never where it lies", async () => {
    const response = await app.inject("/v1/models");
    expect(response.json()).toMatchObject({
      object: "list",
      data: [{ id: "organisation/model", max_model_len: 4096 }],
    });
    expect(response.body).not.toContain("secret");
    for (const path of ["organisation/model", "organisation%2Fmodel"]) {
      expect((await app.inject(`/v1/models/${path}`)).json()).toEqual(response.json().data[0]);
    }
  });
});

describe("request ids", () => {
  it.each([
    ["a-b_c.1", true],
    ["x".repeat(64), true],
    ["x".repeat(65), false],
    ["with space", false],
    ["", false],
    ['"};alert', false],
  ])("%j", async (id, accepted) => {
    const answered = (await app.inject({ url: "/health", headers: { "x-request-id": id } })).headers["x-request-id"];
    if (accepted) expect(answered).toBe(id);
    else expect(answered).toMatch(/^req-[\da-f-]{36}$/);
  });
});

describe("Host header", () => {
  const guarded = buildApp(new FakeLanguageModel(), { allowedHosts: ["gpu-box"] });
  afterAll(() => guarded.close());

  it.each([
    ["localhost:8000", 200],
    ["127.0.0.1:8000", 200],
    ["[::1]:8000", 200],
    ["gpu-box:8000", 200],
    ["evil.example", 403],
    ["localhost.evil.example", 403],
    ["127.0.0.1.evil.example:80", 403],
    ["a b", 403],
  ])("%s", async (host, status) => {
    expect((await guarded.inject({ url: "/health", headers: { host } })).statusCode).toBe(status);
    expect((await app.inject({ url: "/health", headers: { host } })).statusCode).toBe(200);
  });
});

it.each(["/v1/embeddings", "/rerank", "/v1/rerank", "/v2/rerank"])(
  "501 for %s, which no model here can answer",
  async (path) => {
    const response = await app.inject({ method: "POST", url: path, payload: { input: "x" } });
    expect(response.statusCode).toBe(501);
    expect(response.json().error).toMatchObject({ type: "server_error", code: "not_implemented" });
  },
);
