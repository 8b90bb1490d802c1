/** Fields of other servers: obeyed, refused by name where they would change the output, or known to change nothing. */
import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ chatTemplate: "x" });
const app = buildApp(model);
const strict = buildApp(model, { strict: true });
afterAll(() => Promise.all([app.close(), strict.close()]));

const bases = {
  "/v1/completions": { prompt: "the river", max_tokens: 1 },
  "/v1/chat/completions": { messages: [{ role: "user", content: "x" }], max_tokens: 1 },
  "/v1/responses": { input: "x", max_output_tokens: 1 },
};
const urls = Object.keys(bases) as (keyof typeof bases)[];

const send = async (on: typeof app, url: keyof typeof bases, change: object) => {
  const response = await on.inject({ method: "POST", url, payload: { ...bases[url], ...change } });
  const { error } = response.json();
  return response.statusCode === 200 ? 200 : [response.statusCode, error.param, error.code];
};

describe.each(urls)("%s", (url) => {
  it.each<[string, unknown, unknown]>([
    ["grammar_lazy", true, false],
    ["guided_whitespace_pattern", " ?", null],
    ["repeat_penalty", 1.1, 1],
    ["repeat_penalty", 1.5, "1.0"],
    ["n_predict", 5, -1],
    ["typical_p", 0.5, 1],
    ["mirostat", 2, 0],
    ["dry_multiplier", 0.8, 0],
    ["xtc_probability", 0.5, 0],
    ["top_n_sigma", 1, -1],
    ["samplers", ["top_k"], null],
    ["logits_processors", ["x"], []],
    ["prompt_embeds", "x", null],
    ["lora_request", { name: "x" }, null],
    ["structural_tag", "x", null],
    ["stop_regex", "x", null],
    ["max_new_tokens", 5, null],
    ["num_beams", 4, 1],
    ["no_repeat_ngram_size", 3, 0],
    ["do_sample", false, true],
    ["format", "json", ""],
    ["use_beam_search", true, false],
    ["options", { num_ctx: 5 }, {}],
  ])("refuses %s: %j, not %j", async (field, asks, neutral) => {
    expect(await send(app, url, { [field]: asks })).toEqual([400, field, "unsupported_parameter"]);
    if (neutral !== "1.0") expect(await send(app, url, { [field]: neutral })).toBe(200);
    const text = `{${JSON.stringify(bases[url]).slice(1, -1)},"${field}":${neutral === "1.0" ? "1.0" : JSON.stringify(neutral)}}`;
    const headers = { "content-type": "application/json" };
    expect((await app.inject({ method: "POST", url, payload: text, headers })).statusCode).toBe(200);
  });

  it("takes fields that change nothing, and those that nobody knows", async () => {
    const harmless = { user: "x", cache_prompt: true, request_id: "x", mirostat_tau: 5, dry_base: 1.75, metadata: {} };
    expect(await send(app, url, { ...harmless, tempreature: 0.5 })).toBe(200);
    expect(await send(strict, url, harmless)).toBe(200);
  });

  it("strict, refuses those that nobody knows", async () => {
    expect(await send(strict, url, { tempreature: 0.5 })).toEqual([400, "tempreature", null]);
    expect(await send(strict, url, { ["x".repeat(5000)]: 0.5 })).toEqual([400, "x".repeat(64), null]);
    expect(await send(strict, url, { typical_p: 0.5 })).toEqual([400, "typical_p", "unsupported_parameter"]);
  });
});

it("strict looks into stream_options and at the other routes too", async () => {
  const stream_options = { include_usage: true, x: 1 };
  expect(await send(strict, "/v1/completions", { stream: true, stream_options })).toEqual([
    400,
    "stream_options.x",
    null,
  ]);
  for (const [url, payload] of [
    ["/tokenize", { prompt: "x", y: 1 }],
    ["/tokenize", { messages: [{ role: "user", content: "x" }], y: 1 }],
    ["/detokenize", { tokens: [1], y: 1 }],
  ] as const) {
    expect((await app.inject({ method: "POST", url, payload })).statusCode).toBe(200);
    expect((await strict.inject({ method: "POST", url, payload })).json().error.param).toBe("y");
  }
});

it.each([
  [{ json_schema: { type: "integer" } }, { kind: "json_schema", schema: { type: "integer" } }],
  [{ regex: "a+" }, { kind: "regex", pattern: "a+" }],
  [{ guided_json: { type: "integer" } }, { kind: "json_schema", schema: { type: "integer" } }],
  [{ guided_json: '{"type":"integer"}' }, { kind: "json_schema", schema: { type: "integer" } }],
  [{ guided_regex: "a+" }, { kind: "regex", pattern: "a+" }],
  [{ guided_choice: ["a", "b"] }, { kind: "choice", choices: ["a", "b"] }],
  [{ ebnf: 'root ::= "a"' }, { kind: "grammar", grammar: 'root ::= "a"' }],
  [
    { response_format: { type: "json_object", schema: { type: "object" } } },
    { kind: "json_schema", schema: { type: "object" } },
  ],
])("obeys %j", async (change, constraint) => {
  expect(await send(app, "/v1/completions", change)).toBe(200);
  expect(model.calls.at(-1)!.params.constraint).toEqual(constraint);
});

it.each([
  [{ guided_json: 5 }, "guided_json", "a JSON schema"],
  [{ guided_choice: [] }, "guided_choice", "1 to 1024 strings"],
  [{ guided_regex: 5 }, "guided_regex", "a string"],
  [{ ebnf: ["x"] }, "ebnf", "a grammar in GBNF"],
  [{ allowed_token_ids: [] }, "allowed_token_ids", "1 to "],
  [{ allowed_token_ids: [1, -1] }, "allowed_token_ids[1]", "a token id"],
  [{ bad_words: ["x", ""] }, "bad_words[1]", "1 character"],
  [{ ebnf: 'root ::= "a"', guided_regex: "a" }, "guided_regex", "not allowed together with ebnf"],
])("refuses %j, and says why", async (change, param, why) => {
  const { error } = (
    await app.inject({ method: "POST", url: "/v1/completions", payload: { prompt: "x", ...change } })
  ).json();
  expect(error).toMatchObject({ param, message: expect.stringContaining(why) });
});

it.each([
  [
    "/v1/completions",
    { include_stop_str_in_output: true, skip_special_tokens: false },
    { includeStop: true, skipSpecialTokens: false },
  ],
  ["/v1/completions", { truncate_prompt_tokens: 7 }, { truncatePrompt: 7 }],
  ["/v1/completions", { allowed_token_ids: [3, 1], bad_words: [] }, { allowedTokenIds: [3, 1] }],
  ["/v1/chat/completions", { bad_words: ["grim", "dark"] }, { badWords: ["grim", "dark"] }],
  ["/v1/completions", { truncate_prompt_tokens: -1, max_tokens: 96 }, { truncatePrompt: 4000 }],
  ["/v1/chat/completions", { add_generation_prompt: false }, { chat: { addGenerationPrompt: false } }],
  ["/v1/chat/completions", { continue_final_message: true }, { chat: { continueFinalMessage: true } }],
  [
    "/v1/chat/completions",
    { reasoning_effort: "low", chat_template_kwargs: { a: 1 } },
    { chat: { templateArguments: { reasoning_effort: "low", a: 1 } } },
  ],
] as const)("%s obeys %j", async (url, change, params) => {
  expect(await send(app, url, change)).toBe(200);
  expect(model.calls.at(-1)!.params).toMatchObject(params);
});

it.each([false, true])("gives token ids where they are asked for; streamed: %s", async (stream) => {
  const ask = async (url: keyof typeof bases, change: object) => {
    const payload = {
      ...bases[url],
      max_tokens: 3,
      ignore_eos: true,
      temperature: 0,
      return_token_ids: true,
      stream,
      ...change,
    };
    const { body } = await app.inject({ method: "POST", url, payload });
    return stream
      ? body.split("\n").flatMap((line) => (line.startsWith("data: {") ? [JSON.parse(line.slice(6))] : []))
      : [JSON.parse(body)];
  };
  const completions = await ask("/v1/completions", { prompt: ["the river", "a stone falls"], n: 2 });
  const parts = completions.flatMap(({ choices }) => choices);
  for (const index of [0, 1, 2, 3]) {
    const own = parts.filter((choice) => choice.index === index);
    expect(own.flatMap(({ token_ids }) => token_ids)).toHaveLength(3);
    expect(own.flatMap(({ prompt_token_ids = [] }) => prompt_token_ids)).toEqual(index < 2 ? [0, 3] : [1, 4, 5]);
  }
  const chats = await ask("/v1/chat/completions", {});
  expect(
    chats.flatMap(({ choices }) => choices.flatMap((choice: { token_ids: number[] }) => choice.token_ids)),
  ).toHaveLength(3);
  expect(chats.flatMap(({ prompt_token_ids = [] }) => prompt_token_ids)).toEqual([0]);
});
