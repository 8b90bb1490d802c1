import "../helpers/allow-inject";
import { PassThrough } from "node:stream";
import { EngineError } from "../../src/errors";
import { buildApp } from "../../src/server/app";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../helpers/fake-language-model";

/** The log of one request to a server with a key, as objects, at the most talkative level. */
async function logOf(
  payload: object,
  headers: Record<string, string> = {},
  model: FakeLanguageModelOptions = {},
  url = "/v1/chat/completions",
) {
  const stream = new PassThrough();
  let written = "";
  stream.on("data", (data) => {
    written += data;
  });
  const app = buildApp(new FakeLanguageModel(model), { apiKeys: ["secret-key"], logger: { level: "trace", stream } });
  const all = { authorization: "Bearer secret-key", "x-request-id": "my-id", ...headers };
  await app.inject({ method: "POST", url, payload, headers: all });
  await app.close();
  return {
    written,
    lines: written
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  };
}

const chat = (text: string) => ({ messages: [{ role: "user", content: text }], max_tokens: 3, temperature: 0 });

it("is JSON lines with the request's id", async () => {
  const { lines } = await logOf(chat("x"));
  expect(lines.map(({ msg, reqId }) => [msg, reqId])).toEqual([
    ["incoming request", "my-id"],
    ["request completed", "my-id"],
  ]);
  expect(lines[1].res.statusCode).toBe(200);
});

it.each<[string, object, Record<string, string>, FakeLanguageModelOptions]>([
  ["answered", chat("private words"), {}, {}],
  ["streamed", { ...chat("private words"), stream: true }, {}, {}],
  ["refused", { ...chat("private words"), temperature: "private words" }, {}, {}],
  ["not authorized", chat("private words"), { authorization: "Bearer private words" }, {}],
  [
    "failed",
    chat("private words"),
    {},
    { failure: { afterTokens: 1, error: new EngineError("ERR_NON_FINITE", "layer 3") } },
  ],
])("holds no prompt, no output and no key of a request that was %s", async (_, payload, headers, model) => {
  const { written } = await logOf(payload, headers, model);
  for (const text of [
    "private",
    "secret-key",
    "Bearer",
    ...new FakeLanguageModel().detokenize([1, 3, 4, 5, 6]).split(" "),
  ]) {
    if (text.length > 2) expect(written).not.toContain(text);
  }
  expect(written).toContain("my-id");
});

it.each<[string, FakeLanguageModelOptions, number, string]>([
  ["/v1/embeddings", {}, 40, "request refused"],
  [
    "/v1/chat/completions",
    { failure: { afterTokens: 0, error: new EngineError("ERR_NOT_READY", "x") } },
    40,
    "request refused",
  ],
  [
    "/v1/chat/completions",
    { failure: { afterTokens: 0, error: new EngineError("ERR_ENGINE_LOST", "x") } },
    50,
    "request failed",
  ],
])("tells what was refused from what failed: %s %j", async (url, model, level, message) => {
  const { lines } = await logOf(chat("x"), {}, model, url);
  expect(lines.map((line) => [line.level, line.msg])).toEqual([
    [30, "incoming request"],
    [level, message],
    [30, "request completed"],
  ]);
});

it("cannot be forged with line breaks", async () => {
  const { lines } = await logOf(chat("x"), { "user-agent": "a\\n{}", host: 'evil"}\\n{"level":30' });
  expect(lines.every((line) => line.reqId === "my-id")).toBe(true);
});
