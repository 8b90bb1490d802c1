import "../../helpers/allow-inject";
import type { FastifyInstance, InjectOptions } from "fastify";
import { buildApp } from "../../../src/server/app";
import { healthPaths } from "../../../src/server/http/routes/health";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const app = buildApp(new FakeLanguageModel(), { apiKeys: ["first-key", "second-key"] });
const closed = buildApp(new FakeLanguageModel(), { apiKeys: [] });
afterAll(() => Promise.all([app.close(), closed.close()]));

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const ask = (headers: Record<string, string | string[]>, to: FastifyInstance = app) =>
  to.inject({ url: "/v1/models", headers: headers as Record<string, string> });

/** Every route of an app, as Fastify's router prints its tree: the path and the methods. */
async function routesOf(to: FastifyInstance): Promise<{ url: string; methods: string[] }[]> {
  await to.ready();
  const parents: string[] = [];
  return to
    .printRoutes({ commonPrefix: false })
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, tree, part, methods] = /^([\s│]*[└├]── )(\S+) \((.*)\)$/.exec(line)!;
      const depth = tree!.length / 4 - 1;
      parents[depth] = part!;
      const url = parents
        .slice(0, depth + 1)
        .join("/")
        .replace(/\/+/g, "/");
      return { url, methods: methods!.split(", ") };
    });
}

it.each([
  ["Bearer", bearer("first-key")],
  ["bearer in lower case", { authorization: "bearer first-key" }],
  ["BEARER with two spaces", { authorization: "BEARER  first-key" }],
  ["another key", bearer("second-key")],
  ["X-Api-Key", { "x-api-key": "second-key" }],
])("accepts %s", async (_, headers) => {
  expect((await ask(headers)).statusCode).toBe(200);
});

it.each<[string, Record<string, string | string[]>]>([
  ["no key", {}],
  ["a wrong key", bearer("third-key")],
  ["an empty key", bearer("")],
  ["a beginning of a key", bearer("first-ke")],
  ["more than a key", bearer("first-key1")],
  ["a space at the end", bearer("first-key ")],
  ["another spelling", bearer("First-Key")],
  ["another scheme", { authorization: `Basic ${Buffer.from("first-key").toString("base64")}` }],
  ["a key without a scheme", { authorization: "first-key" }],
  ["two keys in one header", bearer("first-key, Bearer second-key")],
  ["two headers", { ...bearer("first-key"), "x-api-key": "first-key" }],
  ["a right one after a wrong one", { "x-api-key": ["third-key", "first-key"] }],
  ["a megabyte", { "x-api-key": "x".repeat(1_000_000) }],
])("refuses %s", async (_, headers) => {
  const response = await ask(headers);
  expect(response.statusCode).toBe(401);
  expect(response.headers["www-authenticate"]).toBe("Bearer");
  expect(response.json().error).toMatchObject({ type: "authentication_error", param: null, code: "invalid_api_key" });
  expect(response.body).not.toContain('-key"');
  expect((await ask(bearer("first-key"))).statusCode).toBe(200);
});

it("accepts nothing with an empty list of keys", async () => {
  for (const headers of [{}, bearer(""), bearer("undefined"), { "x-api-key": "" }]) {
    expect((await ask(headers, closed)).statusCode).toBe(401);
  }
});

it("needs a key on every route and method but the health checks and the files of the web page", async () => {
  const routes = await routesOf(app);
  expect(routes.length).toBeGreaterThan(6);
  expect(routes.map(({ url }) => url)).toContain("/v1/chat/completions");
  for (const { url, methods } of routes) {
    for (const method of methods as NonNullable<InjectOptions["method"]>[]) {
      const { statusCode } = await app.inject({ method, url: url.replace("*", "fake-mamba") });
      // The web page is the same text for everybody; what it shows it asks for with a key.
      const isPublic = (healthPaths.has(url) || url === "/ui/*") && (method === "GET" || method === "HEAD");
      expect(`${method} ${url} ${statusCode === 401}`).toBe(`${method} ${url} ${!isPublic}`);
    }
  }
});

it.each(["/nope", "/health/", "/health/x", "//health", "/health%2f..%2fv1/models", "/v1/%68ealth", "/HEALTH"])(
  "needs a key for %s",
  async (url) => {
    expect((await app.inject(url)).statusCode).toBe(401);
  },
);

it("refuses before it reads a body", async () => {
  const payload = "x".repeat(20_000_000);
  const response = await app.inject({ method: "POST", url: "/v1/completions", payload });
  expect(response.statusCode).toBe(401);
});

it("asks for no key where none is set", async () => {
  const open = buildApp(new FakeLanguageModel());
  expect((await ask({}, open)).statusCode).toBe(200);
  await open.close();
});

it("compares every digest whatever the key: no answer sooner for a key that shares its beginning", async () => {
  const { timingSafeEqual } = jest.requireActual<typeof import("node:crypto")>("node:crypto");
  const spy = jest.spyOn(require("node:crypto"), "timingSafeEqual").mockImplementation(timingSafeEqual as never);
  const counts: number[] = [];
  for (const key of ["x", "first-ke", "first-key", "second-key"]) {
    spy.mockClear();
    await ask(bearer(key));
    counts.push(spy.mock.calls.length);
    expect(spy.mock.calls.every(([given]) => (given as Buffer).length === 32)).toBe(true);
  }
  spy.mockRestore();
  expect(counts).toEqual([2, 2, 2, 2]);
});
