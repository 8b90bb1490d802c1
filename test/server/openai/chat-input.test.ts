import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { refusesEach } from "../../helpers/bad-input";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ naturalLength: 3 });
const app = buildApp(model);
const hello = { role: "user", content: "hello" };
const base = { model: "fake-mamba", messages: [hello] };
const many = <T>(count: number, value: T) => Array.from({ length: count }, () => value);
const tool = (name: string, parameters?: unknown) => ({ type: "function", function: { name, parameters } });
const called = (definition: object, id: unknown = "call_1") => ({
  role: "assistant",
  content: null,
  tool_calls: [{ id, type: "function", function: definition }],
});
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
    [{ messages: [{ role: "tool", content: "x" }] }, "messages[0].tool_call_id"],
    [{ messages: [{ role: "tool", content: null, tool_call_id: "1" }] }, "messages[0].content"],
    [{ messages: [{ role: "function", content: "x", name: "f" }] }, "messages[0].role"],
    [{ messages: [called({ name: "f", arguments: "{" })] }, "messages[0].tool_calls[0].function.arguments"],
    [{ messages: [called({ name: "f", arguments: "[1]" })] }, "messages[0].tool_calls[0].function.arguments"],
    [{ messages: [called({ name: 5, arguments: "{}" })] }, "messages[0].tool_calls[0].function.name"],
    [{ messages: [called({ name: "f", arguments: "{}" }, 5)] }, "messages[0].tool_calls[0].id"],
    [{ messages: [{ role: "assistant", tool_calls: 5 }] }, "messages[0].tool_calls"],
    [{ messages: [{ role: "assistant", tool_calls: [null] }] }, "messages[0].tool_calls[0].function.name"],
    [{ messages: [{ role: "assistant", tool_calls: many(129, {}) }] }, "messages[0].tool_calls"],
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
    [{ tools: [tool("f")] }, "tools", unsupported],
    [{ tools: "f" }, "tools"],
    [{ tools: many(1000, tool("f")) }, "tools"],
    [{ tools: [tool("f"), tool("f")] }, "tools[1].function.name"],
    [{ tools: [{ type: "custom", custom: {} }] }, "tools[0].type"],
    [{ tools: [{ type: "function" }] }, "tools[0].function"],
    [{ tools: [tool("")] }, "tools[0].function.name"],
    [{ tools: [tool("x".repeat(65))] }, "tools[0].function.name"],
    [{ tools: [tool("f", 5)] }, "tools[0].function.parameters"],
    [{ tools: [tool("f", { type: "wrong" })] }, "tools[0].function.parameters"],
    [{ tools: [tool("f", { properties: 5 })] }, "tools[0].function.parameters"],
    [{ tool_choice: "required" }, "tool_choice"],
    [{ tool_choice: "sometimes" }, "tool_choice"],
    [{ tool_choice: { type: "function", function: { name: "f" } } }, "tool_choice"],
    [{ tools: [tool("f")], tool_choice: { type: "function", function: { name: "absent" } } }, "tool_choice"],
    [{ tools: [tool("f")], tool_choice: "required", response_format: { type: "json_object" } }, "tool_choice"],
    [{ functions: [{ name: "f" }] }, "functions", unsupported],
    [{ response_format: { type: "json_schema" } }, "response_format.json_schema"],
    [{ response_format: { type: "json_schema", json_schema: { name: "x" } } }, "response_format.json_schema.schema"],
    [{ response_format: { type: "json_schema", json_schema: { schema: 5 } } }, "response_format.json_schema.schema"],
    [{ response_format: { type: "foo" } }, "response_format.type"],
    [{ response_format: 5 }, "response_format"],
    [{ chat_template: "{{ x }}" }, "chat_template", unsupported],
    [{ chat_template_kwargs: { a: [1] } }, "chat_template_kwargs.a"],
    [{ chat_template_kwargs: { messages: {} } }, "chat_template_kwargs.messages"],
    [{ chat_template_kwargs: 5 }, "chat_template_kwargs"],
    [
      { chat_template_kwargs: Object.fromEntries(many(100_000, 0).map((_, i) => [`x${i}`, i])) },
      "chat_template_kwargs",
    ],
    [{ audio: {} }, "audio", unsupported],
    [{ continue_final_message: true, add_generation_prompt: true }, "continue_final_message"],
    [{ add_generation_prompt: "no" }, "add_generation_prompt"],
    [{ reasoning_effort: 5 }, "reasoning_effort"],
    [{ modalities: ["text", "audio"] }, "modalities", unsupported],
    [{ add_special_tokens: true }, "add_special_tokens", unsupported],
    [{ documents: [{ text: "x" }] }, "documents", unsupported],
    [{ stream_options: {} }, "stream_options"],
    [{ temperature: 2.1 }, "temperature"],
    [{ presence_penalty: 3 }, "presence_penalty"],
    [{ frequency_penalty: "high" }, "frequency_penalty"],
    [{ repetition_penalty: 0 }, "repetition_penalty"],
    [{ n: 129 }, "n"],
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
    [
      { chat_template_kwargs: { enable_thinking: false } },
      { params: { chat: { templateArguments: { enable_thinking: false } } } },
    ],
    [{ tools: [tool("f")], tool_choice: "none" }, {}],
    [
      {
        messages: [
          hello,
          called({ name: "f", arguments: '{"a": 1}' }),
          { role: "tool", content: "2", tool_call_id: "call_1", name: "f" },
        ],
      },
      {
        prompt: [
          hello,
          { role: "assistant", content: "", toolCalls: [{ id: "call_1", name: "f", arguments: { a: 1 } }] },
          { role: "tool", content: "2", toolCallId: "call_1", name: "f" },
        ],
      },
    ],
    [
      {
        response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "object" }, strict: true } },
      },
      { params: { constraint: { kind: "json_schema", schema: { type: "object" } } } },
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
