import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const app = buildApp(new FakeLanguageModel());
afterAll(() => app.close());

const bases: Readonly<Record<string, object>> = {
  "/v1/completions": { prompt: "x" },
  "/v1/responses": { input: "x" },
  "/v1/messages": { messages: [{ role: "user", content: "x" }], max_tokens: 5 },
  "/tokenize": { prompt: "x" },
};

it.each<[string, string, string]>([
  ["/v1/completions", '{"max_tokens": "5"}', "max_tokens: expected a number, got a string"],
  ["/v1/completions", '{"max_tokens": 1.5}', "max_tokens: expected an integer, got 1.5"],
  ["/v1/completions", '{"max_tokens": -1}', "max_tokens: expected at least 0, got -1"],
  ["/v1/completions", '{"temperature": 2.5}', "temperature: expected at most 2, got 2.5"],
  ["/v1/completions", '{"temperature": 1e999}', "temperature: expected a number, got Infinity"],
  ["/v1/completions", '{"top_p": 0.0}', "top_p: expected above 0, got 0"],
  ["/v1/completions", '{"stream": "true"}', "stream: expected true or false, got a string"],
  ["/v1/completions", '{"model": 5}', "model: expected a string, got 5"],
  ["/v1/completions", '{"bad_words": [""]}', "bad_words[0]: expected at least 1 character"],
  ["/v1/completions", `{"cache_salt": "${"x".repeat(1025)}"}`, "cache_salt: expected at most 1024 characters"],
  ["/v1/completions", '{"bad_words": {}}', "bad_words: expected a list, got an object"],
  ["/v1/completions", '{"stream_options": []}', "stream_options: expected an object, got a list"],
  ["/v1/responses", '{"truncation": "x"}', 'truncation: expected "auto" or "disabled", got a string'],
  ["/v1/messages", '{"max_tokens": null}', "max_tokens: expected a number, got null"],
  ["/v1/messages", '{"max_tokens": 2.5}', "max_tokens: expected an integer, got 2.5"],
  ["/tokenize", '{"prompt": 5}', "prompt: expected a string, got 5"],
])("%s %s", async (url, change, message) => {
  const payload = JSON.stringify(bases[url]).replace(/\}$/, `, ${change.slice(1)}`);
  const response = await app.inject({ method: "POST", url, payload, headers: { "content-type": "application/json" } });
  expect([response.statusCode, response.json().error.message]).toEqual([400, message]);
});

it.each([
  ["/v1/completions", [], "request body: expected an object, got a list"],
  ["/v1/messages", { messages: [{ role: "user", content: "x" }] }, "max_tokens: is required"],
  ["/tokenize", {}, "prompt: is required"],
])("%s %j", async (url, payload, message) => {
  const response = await app.inject({ method: "POST", url, payload });
  expect([response.statusCode, response.json().error.message]).toEqual([400, message]);
});

it("numbers as Python writes floats are what they stand for, on every route", async () => {
  const ask = (url: string, rest: string) => {
    const payload = JSON.stringify(bases[url]).replace(/\}$/, `, ${rest}}`);
    return app.inject({ method: "POST", url, payload, headers: { "content-type": "application/json" } });
  };
  expect((await ask("/v1/completions", '"max_tokens": 2.0')).statusCode).toBe(200);
  expect((await ask("/v1/responses", '"max_output_tokens": 2e0')).statusCode).toBe(200);
  expect((await ask("/v1/messages", '"max_tokens": 2.0')).statusCode).toBe(200);
});
