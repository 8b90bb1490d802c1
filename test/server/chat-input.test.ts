import "../helpers/allow-inject";
import { buildApp } from "../../src/server/app";
import { refusesEach } from "../helpers/bad-input";
import { FakeLanguageModel } from "../helpers/fake-language-model";

const model = new FakeLanguageModel({ naturalLength: 3 });
const app = buildApp(model);
const hello = { role: "user", content: "hello" };
const base = { model: "fake-mamba", messages: [hello] };
const many = <T>(count: number, value: T) => Array.from({ length: count }, () => value);
const image = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };

beforeEach(() => {
  model.calls.length = 0;
});
afterAll(() => app.close());

describe("refused", () => {
  const unsupported = "unsupported_parameter";
  refusesEach(() => app, "/v1/chat/completions", base, [
    [{ messages: undefined }, "messages"],
    [{ messages: null }, "messages"],
    [{ messages: [] }, "messages"],
    [{ messages: "hello" }, "messages"],
    [{ messages: hello }, "messages"],
    [{ messages: [hello, null] }, "messages[1]"],
    [{ messages: ["hello"] }, "messages[0]"],
    [{ messages: [{ content: "hello" }] }, "messages[0].role"],
    [{ messages: [{ role: "wizard", content: "x" }] }, "messages[0].role"],
    [{ messages: [{ role: "__proto__", content: "x" }] }, "messages[0].role"],
    [{ messages: [{ role: "tool", content: "x", tool_call_id: "1" }] }, "messages[0].role", unsupported],
    [{ messages: [{ role: "user" }] }, "messages[0].content"],
    [{ messages: [{ role: "user", content: null }] }, "messages[0].content"],
    [{ messages: [{ role: "assistant", content: null, tool_calls: [] }] }, "messages[0].content"],
    [{ messages: [{ role: "user", content: [] }] }, "messages[0].content"],
    [{ messages: [{ role: "user", content: [{ type: "text", text: "x" }, image] }] }, "messages[0].content[1]"],
    [{ messages: [{ role: "user", content: [null] }] }, "messages[0].content[0]"],
    [{ messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages[0].content[0].text"],
    [{ messages: many(4097, hello) }, "messages"],
    [{ messages: many(100_000, hello) }, "messages"],
    [{ messages: many(4096, { role: "wizard" }) }, "messages[0].role"],
    [{ messages: [{ role: "user", content: many(50_000, image) }] }, "messages[0].content[0]"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_completion_tokens: -1 }, "max_completion_tokens"],
    [{ messages: [{ role: "user", content: "the ".repeat(5000) }] }, "prompt", "context_length_exceeded"],
    [{ logprobs: 1 }, "logprobs"],
    [{ top_logprobs: 2 }, "top_logprobs"],
    [{ top_logprobs: 2, logprobs: false }, "top_logprobs"],
    [{ top_logprobs: 21, logprobs: true }, "top_logprobs"],
    [{ tools: [{ type: "function", function: { name: "f" } }] }, "tools", unsupported],
    [{ tools: many(1000, { type: "function" }) }, "tools", unsupported],
    [{ tool_choice: "required" }, "tool_choice", unsupported],
    [{ tool_choice: { type: "function", function: { name: "absent" } } }, "tool_choice", unsupported],
    [{ functions: [{ name: "f" }] }, "functions", unsupported],
    [{ response_format: { type: "json_object" } }, "response_format", unsupported],
    [{ response_format: { type: "json_schema" } }, "response_format", unsupported],
    [{ response_format: { type: "foo" } }, "response_format", unsupported],
    [{ response_format: 5 }, "response_format", unsupported],
    [{ chat_template: "{{ x }}" }, "chat_template", unsupported],
    [{ chat_template_kwargs: { tokenize: true } }, "chat_template_kwargs", unsupported],
    [{ audio: {} }, "audio", unsupported],
    [{ stream_options: {} }, "stream_options"],
    [{ temperature: 2.1 }, "temperature"],
    [{ presence_penalty: 3 }, "presence_penalty"],
    [{ frequency_penalty: "high" }, "frequency_penalty"],
    [{ repetition_penalty: 0 }, "repetition_penalty"],
    [{ n: 17 }, "n"],
    [{ stop: [""] }, "stop[0]"],
  ]);
});

describe("accepted", () => {
  const parts = [
    { type: "text", text: "one" },
    { type: "text", text: "two" },
  ];
  const defaults = { prompt: [hello], params: {} };
  const accepted: readonly (readonly [Record<string, unknown>, { prompt?: unknown; params?: object }])[] = [
    [{}, {}],
    [{ max_tokens: 7 }, { params: { maxTokens: 7 } }],
    [
      { presence_penalty: 1, frequency_penalty: 0.5, repetition_penalty: 1.2 },
      { params: { presencePenalty: 1, frequencyPenalty: 0.5, repetitionPenalty: 1.2 } },
    ],
    [{ max_tokens: 7, max_completion_tokens: 9 }, { params: { maxTokens: 9 } }],
    [{ logprobs: true }, { params: { logprobs: 0 } }],
    [{ logprobs: true, top_logprobs: 3 }, { params: { logprobs: 3 } }],
    [{ logprobs: false }, {}],
    [{ messages: [{ role: "user", content: parts }] }, { prompt: [{ role: "user", content: "one\ntwo" }] }],
    [{ messages: [{ role: "user", content: "" }] }, { prompt: [{ role: "user", content: "" }] }],
    [
      { messages: [{ role: "developer", content: "x", name: "n" }, hello] },
      { prompt: [{ role: "system", content: "x" }, hello] },
    ],
    [
      { messages: [hello, { role: "system", content: "x" }, { role: "assistant", content: "y" }] },
      { prompt: [hello, { role: "system", content: "x" }, { role: "assistant", content: "y" }] },
    ],
    [{ tools: [], tool_choice: "none", response_format: { type: "text" }, parallel_tool_calls: true }, {}],
    [{ tools: null, functions: null, response_format: null, audio: null, top_logprobs: null, max_tokens: null }, {}],
  ];

  it.each(accepted)("%j", async (change, expected) => {
    const response = await app.inject({ method: "POST", url: "/v1/chat/completions", payload: { ...base, ...change } });
    expect(response.statusCode).toBe(200);
    const { prompt, params } = { ...defaults, ...expected };
    expect(model.calls).toEqual([{ prompt, params: { signal: expect.any(AbortSignal), ...params } }]);
  });
});
