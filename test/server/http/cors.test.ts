import "../../helpers/allow-inject";
import type { FastifyInstance } from "fastify";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const page = "https://page.example";
const build = (allowedOrigins: string[]) => buildApp(new FakeLanguageModel(), { allowedOrigins, apiKeys: ["key"] });
const off = build([]);
const listed = build(["http://localhost:3000", page]);
const any = build(["*"]);
afterAll(() => Promise.all([off, listed, any].map((app) => app.close())));

const key = { authorization: "Bearer key" };
const get = (app: FastifyInstance, origin: string) => app.inject({ url: "/v1/models", headers: { ...key, origin } });
const preflight = (app: FastifyInstance, origin: string, headers = "authorization,content-type,x-stainless-os") =>
  app.inject({
    method: "OPTIONS",
    url: "/v1/chat/completions",
    headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": headers },
  });

it("is off by default: no origin is let in, a preflight is an OPTIONS like any other", async () => {
  expect((await get(off, page)).headers).not.toHaveProperty("access-control-allow-origin");
  const response = await preflight(off, page);
  expect(response.statusCode).toBe(401);
  expect(response.headers).not.toHaveProperty("access-control-allow-origin");
});

it("lets a listed origin in, and nobody else", async () => {
  expect((await get(listed, page)).headers).toMatchObject({ "access-control-allow-origin": page, vary: "Origin" });
  for (const origin of [
    "https://other.example",
    "http://page.example",
    `${page}.evil.example`,
    `${page}:444`,
    "null",
  ]) {
    const response = await get(listed, origin);
    expect(response.statusCode).toBe(200);
    expect(response.headers).not.toHaveProperty("access-control-allow-origin");
    expect(response.headers.vary).toBe("Origin");
    expect((await preflight(listed, origin)).statusCode).toBe(401);
  }
});

it("answers a preflight without a key, with the headers that clients send", async () => {
  const { statusCode, headers, body } = await preflight(listed, page);
  expect({ statusCode, body }).toEqual({ statusCode: 204, body: "" });
  expect(headers).toMatchObject({
    "access-control-max-age": "600",
    "access-control-allow-origin": page,
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization,content-type,x-stainless-os",
  });
  expect(headers).not.toHaveProperty("access-control-allow-credentials");
  expect((await preflight(listed, page, "x".repeat(5000))).headers).not.toHaveProperty("access-control-allow-headers");
});

it("asks a page for its key: a preflight opens nothing", async () => {
  const response = await listed.inject({ url: "/v1/models", headers: { origin: page } });
  expect(response.statusCode).toBe(401);
  // So that the page can read what was wrong.
  expect(response.headers["access-control-allow-origin"]).toBe(page);
});

it("lets every origin in with *, in streams and errors too", async () => {
  const post = (payload: object) =>
    any.inject({ method: "POST", url: "/v1/completions", payload, headers: { ...key, origin: page } });
  for (const payload of [{ prompt: "x", max_tokens: 1, stream: true }, { prompt: 5 }]) {
    expect((await post(payload)).headers["access-control-allow-origin"]).toBe("*");
  }
  expect((await preflight(any, page)).headers["access-control-allow-origin"]).toBe("*");
});
