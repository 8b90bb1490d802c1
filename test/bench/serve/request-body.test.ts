import { requestBody } from "../../../src/bench/serve/request-body";

test("request bodies of both APIs; extra fields win", () => {
  const sample = { prompt: [1, 2], promptTokens: 2, outputTokens: 7 };
  const options = { backend: "openai", model: "m", ignoreEos: true, extraBody: {} } as const;
  expect(JSON.parse(requestBody(sample, options))).toEqual({
    ...{ model: "m", prompt: [1, 2], max_tokens: 7, stream: true, stream_options: { include_usage: true } },
    ignore_eos: true,
  });
  const chat = {
    ...options,
    backend: "openai-chat",
    ignoreEos: false,
    extraBody: { max_completion_tokens: 3 },
  } as const;
  expect(JSON.parse(requestBody({ ...sample, prompt: "hi" }, chat))).toEqual({
    ...{ model: "m", messages: [{ role: "user", content: "hi" }], max_completion_tokens: 3, stream: true },
    stream_options: { include_usage: true },
  });
});
