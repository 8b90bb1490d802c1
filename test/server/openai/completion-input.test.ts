import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { refusesEach } from "../../helpers/bad-input";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ maxModelLen: 100 });
const app = buildApp(model);
const base = { model: "fake-mamba", prompt: "the river", max_tokens: 3 };
const { vocabSize } = model.info;
const many = <T>(count: number, value: T) => Array.from({ length: count }, () => value);

beforeEach(() => {
  model.calls.length = 0;
});
afterAll(() => app.close());

describe("refused", () => {
  refusesEach(() => app, "/v1/completions", base, [
    [{ prompt: undefined }, "prompt"],
    [{ prompt: null }, "prompt"],
    [{ prompt: "" }, "prompt"],
    [{ prompt: [] }, "prompt"],
    [{ prompt: 7 }, "prompt"],
    [{ prompt: { text: "x" } }, "prompt"],
    [{ prompt: [null] }, "prompt[0]"],
    [{ prompt: [""] }, "prompt[0]"],
    [{ prompt: [[]] }, "prompt[0]"],
    [{ prompt: ["a", 1] }, "prompt[1]"],
    [{ prompt: [1, "a"] }, "prompt[1]"],
    [{ prompt: [[1], "a"] }, "prompt[1]"],
    [
      {
        prompt: [
          [1, 2],
          [3, [4]],
        ],
      },
      "prompt[1][1]",
    ],
    [{ prompt: [1, -1] }, "prompt[1]"],
    [{ prompt: [vocabSize] }, "prompt[0]"],
    [{ prompt: [2 ** 31] }, "prompt[0]"],
    [{ prompt: [1, 1.5] }, "prompt[1]"],
    [{ prompt: many(129, "a") }, "prompt"],
    [{ prompt: many(10_000, "a") }, "prompt"],
    [{ prompt: many(50_000, -1) }, "prompt[0]"],
    [{ prompt: [...many(500_000, 1), "x"] }, "prompt[500000]"],
    [{ n: 0 }, "n"],
    [{ n: 129 }, "n"],
    [{ n: 1e9 }, "n"],
    [{ n: 1.5 }, "n"],
    [{ n: "2" }, "n"],
    [{ max_tokens: -1 }, "max_tokens"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_tokens: 2 ** 31 }, "max_tokens"],
    [{ max_tokens: "5" }, "max_tokens"],
    [{ max_tokens: 1.5 }, "max_tokens"],
    [{ prompt: "the ".repeat(100) }, "prompt", "context_length_exceeded"],
    [{ prompt: [[1], many(101, 1)] }, "prompt", "context_length_exceeded"],
    [{ temperature: -0.1 }, "temperature"],
    [{ temperature: 2.1 }, "temperature"],
    [{ temperature: "NaN" }, "temperature"],
    [{ top_p: 0 }, "top_p"],
    [{ top_p: 1.0001 }, "top_p"],
    [{ top_k: -2 }, "top_k"],
    [{ top_k: 0.5 }, "top_k"],
    [{ top_k: 2 ** 31 }, "top_k"],
    [{ min_p: -0.1 }, "min_p"],
    [{ min_p: 1.1 }, "min_p"],
    [{ presence_penalty: 2.1 }, "presence_penalty"],
    [{ presence_penalty: -2.1 }, "presence_penalty"],
    [{ presence_penalty: "1" }, "presence_penalty"],
    [{ frequency_penalty: 2.1 }, "frequency_penalty"],
    [{ frequency_penalty: -2.1 }, "frequency_penalty"],
    [{ frequency_penalty: true }, "frequency_penalty"],
    [{ repetition_penalty: 0 }, "repetition_penalty"],
    [{ repetition_penalty: -1 }, "repetition_penalty"],
    [{ repetition_penalty: 101 }, "repetition_penalty"],
    [{ repetition_penalty: [1] }, "repetition_penalty"],
    [{ logit_bias: "x" }, "logit_bias"],
    [{ logit_bias: [100] }, "logit_bias"],
    [{ logit_bias: { abc: 1 } }, "logit_bias"],
    [{ logit_bias: { "-1": 1 } }, "logit_bias"],
    [{ logit_bias: { "1.5": 1 } }, "logit_bias"],
    [{ logit_bias: { [vocabSize]: 1 } }, "logit_bias"],
    [{ logit_bias: { "5": 101 } }, "logit_bias.5"],
    [{ logit_bias: { "5": "1" } }, "logit_bias.5"],
    [{ logit_bias: { "5": null } }, "logit_bias.5"],
    [{ logit_bias: Object.fromEntries(many(100_000, 0).map((_, i) => [i, 1])) }, "logit_bias"],
    [{ echo: "yes" }, "echo"],
    [{ suffix: "end" }, "suffix", "unsupported_parameter"],
    [{ n: 3, best_of: 2 }, "best_of"],
    [{ best_of: 2, stream: true }, "best_of"],
    [{ best_of: 129 }, "best_of"],
    [{ best_of: 0 }, "best_of"],
    [{ min_tokens: -1 }, "min_tokens"],
    [{ min_tokens: 4 }, "min_tokens"],
    [{ prompt_logprobs: 21 }, "prompt_logprobs"],
    [{ prompt_logprobs: 1, stream: true }, "prompt_logprobs"],
    [{ structured_outputs: { regex: "(", json: {} } }, "structured_outputs"],
    [{ structured_outputs: { grammar: 5 } }, "structured_outputs.grammar"],
    [{ structured_outputs: { structural_tag: "x" } }, "structured_outputs.structural_tag", "unsupported_parameter"],
    [{ grammar: 5 }, "grammar"],
    [{ guided_grammar: "x".repeat(65_537) }, "guided_grammar"],
    [{ grammar: 'root ::= "a"', regex: "a" }, "grammar"],
    [{ structured_outputs: { choice: [] } }, "structured_outputs.choice"],
    [{ structured_outputs: { choice: ["a", ""] } }, "structured_outputs.choice"],
    [{ structured_outputs: { regex: 5 } }, "structured_outputs.regex"],
    [{ structured_outputs: { json: "{" } }, "structured_outputs.json"],
    [{ structured_outputs: { regex: "a" }, response_format: { type: "json_object" } }, "structured_outputs"],
    [{ allowed_token_ids: [-1] }, "allowed_token_ids[0]"],
    [{ guided_json: 5 }, "guided_json"],
    [{ return_token_ids: 1 }, "return_token_ids"],
    [{ truncate_prompt_tokens: 0 }, "truncate_prompt_tokens"],
    [{ truncate_prompt_tokens: 3, echo: true }, "truncate_prompt_tokens"],
    [{ json_schema: 5 }, "json_schema"],
    [{ regex: 5 }, "regex"],
    [{ regex: "a", json_schema: {} }, "regex"],
    [{ regex: "a", response_format: { type: "json_object" } }, "regex"],
    [{ add_special_tokens: false }, "add_special_tokens", "unsupported_parameter"],
    [{ bad_words: [""] }, "bad_words[0]"],
    [{ skip_special_tokens: 0 }, "skip_special_tokens"],
    [{ stream: true, stream_options: { continuous_usage_stats: 1 } }, "stream_options.continuous_usage_stats"],
    [{ stop: "" }, "stop"],
    [{ stop: 5 }, "stop"],
    [{ stop: ["a", ""] }, "stop[1]"],
    [{ stop: ["a", null] }, "stop[1]"],
    [{ stop: many(17, "a") }, "stop"],
    [{ stop: many(100_000, 1) }, "stop"],
    [{ stop: "a".repeat(257) }, "stop"],
    [{ stop: "a".repeat(1_000_000) }, "stop"],
    [{ stop_token_ids: 5 }, "stop_token_ids"],
    [{ stop_token_ids: [1, -1] }, "stop_token_ids[1]"],
    [{ stop_token_ids: many(1025, 1) }, "stop_token_ids"],
    [{ seed: 1.5 }, "seed"],
    [{ seed: 2 ** 63 }, "seed"],
    [{ seed: "1" }, "seed"],
    [{ logprobs: 21 }, "logprobs"],
    [{ logprobs: -1 }, "logprobs"],
    [{ logprobs: true }, "logprobs"],
    [{ stream: "yes" }, "stream"],
    [{ stream_options: { include_usage: true } }, "stream_options"],
    [{ stream: true, stream_options: { include_usage: "yes" } }, "stream_options.include_usage"],
    [{ ignore_eos: 1 }, "ignore_eos"],
    [{ model: 5 }, "model"],
  ]);
});

describe("other models", () => {
  it.each(["other", "../../etc/passwd", "", "fake-mamba ", "x".repeat(100_000)])("%.30s", async (name) => {
    const response = await app.inject({ method: "POST", url: "/v1/completions", payload: { ...base, model: name } });
    expect(response.statusCode).toBe(404);
    expect(response.json().error).toMatchObject({ param: "model", code: "model_not_found" });
    expect(response.body.length).toBeLessThan(400);
  });
});

describe("accepted", () => {
  const accepted: readonly (readonly [Record<string, unknown>, Record<string, unknown>])[] = [
    [{}, {}],
    [{ model: undefined }, {}],
    [{ max_tokens: undefined }, { maxTokens: 16 }],
    [{ temperature: 0 }, { temperature: 0 }],
    [{ temperature: 1e-40 }, { temperature: 0 }],
    [
      { temperature: 2, top_p: 1, min_p: 0 },
      { temperature: 2, topP: 1, minP: 0 },
    ],
    [{ top_k: -1 }, { topK: 0 }],
    [{ top_k: 5 }, { topK: 5 }],
    [{ seed: -1 }, { seed: -1n }],
    [{ seed: Number.MAX_SAFE_INTEGER }, { seed: BigInt(Number.MAX_SAFE_INTEGER) }],
    [{ stop: "x" }, { stop: ["x"] }],
    [{ stop: [] }, {}],
    [{ stop: many(16, "x".repeat(256)) }, { stop: many(16, "x".repeat(256)) }],
    [
      { stop_token_ids: [0, 7], ignore_eos: true },
      { stopTokenIds: [0, 7], ignoreEos: true },
    ],
    [{ logprobs: 0 }, { logprobs: 0 }],
    [{ logprobs: 20 }, { logprobs: 20 }],
    [
      { presence_penalty: -2, frequency_penalty: 2, repetition_penalty: 1.1 },
      { presencePenalty: -2, frequencyPenalty: 2, repetitionPenalty: 1.1 },
    ],
    [
      { presence_penalty: 0, frequency_penalty: 0, repetition_penalty: 1 },
      { presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
    ],
    [{ presence_penalty: null, frequency_penalty: null, repetition_penalty: null }, {}],
    [{ best_of: 1, echo: false, suffix: "", logit_bias: {}, min_tokens: 0, skip_special_tokens: true }, {}],
    [{ logit_bias: { "5": 100, "6": -0.5 } }, { logitBias: { 5: 100, 6: -0.5 } }],
    [{ min_tokens: 3 }, { minTokens: 3 }],
    [{ prompt_logprobs: 2 }, { promptLogprobs: 2 }],
    [
      { prompt_logprobs: 0, max_tokens: 0 },
      { promptLogprobs: 0, maxTokens: 0 },
    ],
    [{ echo: true }, {}],
    [
      { echo: true, logprobs: 3 },
      { logprobs: 3, promptLogprobs: 3 },
    ],
    [
      { echo: true, max_tokens: 0 },
      { maxTokens: 0, promptLogprobs: 0 },
    ],
    [{ response_format: { type: "text" } }, {}],
    [{ response_format: { type: "json_object" } }, { constraint: { kind: "json_object" } }],
    [{ structured_outputs: { regex: "a+" } }, { constraint: { kind: "regex", pattern: "a+" } }],
    [{ structured_outputs: { choice: ["a", "b"] } }, { constraint: { kind: "choice", choices: ["a", "b"] } }],
    [
      { structured_outputs: { json: '{"type":"object"}' } },
      { constraint: { kind: "json_schema", schema: { type: "object" } } },
    ],
    [{ structured_outputs: { json: true, regex: null } }, { constraint: { kind: "json_schema", schema: true } }],
    [{ structured_outputs: { json_object: true } }, { constraint: { kind: "json_object" } }],
    [{ user: "me", metadata: { a: 1 }, store: true, service_tier: "auto", unknown_field: [1] }, {}],
    [{ n: null, temperature: null, stop: null, seed: null, logprobs: null, stream: null, echo: null, user: null }, {}],
  ];

  it.each(accepted)("%j", async (change, expected) => {
    const response = await app.inject({ method: "POST", url: "/v1/completions", payload: { ...base, ...change } });
    expect(response.statusCode).toBe(200);
    expect(model.calls).toEqual([
      { prompt: "the river", params: { maxTokens: 3, signal: expect.any(AbortSignal), ...expected } },
    ]);
  });

  it.each([
    ["a string", "the river", ["the river"]],
    ["strings", ["the river", "a stone"], ["the river", "a stone"]],
    ["token ids", [1, 2, 3], [[1, 2, 3]]],
    ["lists of token ids", [[1], [2, 3]], [[1], [2, 3]]],
    ["128 prompts", many(128, "a"), many(128, "a")],
  ])("prompt as %s", async (_, prompt, prompts) => {
    const payload = { ...base, prompt };
    const response = await app.inject({ method: "POST", url: "/v1/completions", payload });
    expect(response.json().choices).toHaveLength(prompts.length);
    expect(model.calls.map((call) => call.prompt)).toEqual(prompts);
  });

  it("draws choice i of each prompt with seed + i", async () => {
    const payload = { ...base, prompt: ["a", "b"], n: 3, seed: 40 };
    const response = await app.inject({ method: "POST", url: "/v1/completions", payload });
    expect(response.json().choices.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(model.calls.map(({ prompt, params }) => [prompt, params.seed])).toEqual([
      ["a", 40n],
      ["a", 41n],
      ["a", 42n],
      ["b", 40n],
      ["b", 41n],
      ["b", 42n],
    ]);
  });

  it("prompt and output may fill the context, and not pass it", async () => {
    const post = (max_tokens: number) => {
      const payload = { ...base, prompt: "the ".repeat(99), max_tokens };
      return app.inject({ method: "POST", url: "/v1/completions", payload });
    };
    expect((await post(1)).json()).toMatchObject({
      choices: [{ finish_reason: "length" }],
      usage: { total_tokens: 100 },
    });
    expect((await post(2)).json().error).toMatchObject({ param: "prompt", code: "context_length_exceeded" });
  });
});
