import "../helpers/allow-inject";
import fc from "fast-check";
import { buildApp } from "../../src/server/app";
import { FakeLanguageModel } from "../helpers/fake-language-model";
import { checkAnswer, postRoutes, sendBody } from "./answers";
import { requestBody } from "./request-bodies";

const app = buildApp(new FakeLanguageModel({ maxModelLen: 64 }));
afterAll(() => app.close());

test("whatever the body, every route answers as OpenAI does and never with a fault", async () => {
  const routes = await postRoutes(app);
  expect(routes).toContain("/v1/chat/completions");
  const seen = new Set<number>();
  const property = fc.asyncProperty(fc.constantFrom(...routes), requestBody, async (route, body) => {
    seen.add(await sendBody(app, route, body));
  });
  await fc.assert(property, { numRuns: 600, seed: 1 });
  expect([...seen]).toEqual(expect.arrayContaining([200, 400, 404]));
});

describe("an answer", () => {
  const json = { "content-type": "application/json" };
  const sse = { "content-type": "text/event-stream" };
  const error = { message: "no", type: "invalid_request_error", param: null, code: null };

  it.each([
    [200, "{}", json],
    [400, JSON.stringify({ error }), json],
    [200, "data: {}\n\ndata: [DONE]\n\n", sse],
  ])("%s %s is right", (statusCode, body, headers) => {
    expect(() => checkAnswer({ statusCode, body, headers })).not.toThrow();
  });

  it.each([
    [500, JSON.stringify({ error }), json, "a fault"],
    [499, JSON.stringify({ error }), json, "had not left"],
    [400, '{"message": "no"}', json, "Anthropic's shape"],
    [302, JSON.stringify({ error }), json, "Anthropic's shape"],
    [200, "data: {}\n\n", sse, "without an end"],
    [200, 'data: {"error":{"type":"server_error"}}\n\ndata: [DONE]\n\n', sse, "within a stream"],
    [200, "7", json, "no object"],
  ])("%s %s is wrong", (statusCode, body, headers, problem) => {
    expect(() => checkAnswer({ statusCode, body, headers })).toThrow(problem);
  });
});
