import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ maxModelLen: 50 });
const app = buildApp(model);
afterAll(() => app.close());

const post = (url: string, payload: object) => app.inject({ method: "POST", url, payload });

it("gives a text's tokens, and their texts when asked", async () => {
  const ids = await model.tokenize("the river falls");
  expect((await post("/tokenize", { prompt: "the river falls" })).json()).toEqual({
    count: 3,
    max_model_len: 50,
    tokens: ids,
    token_strs: null,
  });
  const { token_strs } = (await post("/tokenize", { prompt: "the river", return_token_strs: true })).json();
  expect(token_strs).toEqual([" the", " river"]);
  expect((await post("/tokenize", { prompt: "" })).json().tokens).toEqual([]);
});

it("tokenizes a conversation as the model sees it", async () => {
  const render = jest.spyOn(model, "renderChat");
  const tokenize = jest.spyOn(model, "tokenize");
  const messages = [{ role: "user", content: "the river" }];
  const tools = [{ type: "function", function: { name: "f" } }];
  const response = await post("/tokenize", {
    messages,
    tools,
    add_generation_prompt: false,
    chat_template_kwargs: { a: 1 },
  });
  expect(response.json().tokens).toEqual(await model.tokenize(await model.renderChat(messages)));
  const options = { tools, addGenerationPrompt: false, templateArguments: { a: 1 } };
  expect(render.mock.calls[0]).toEqual([messages, options]);
  expect(tokenize.mock.calls[0]![1]).toEqual({ addSpecialTokens: false });
  tokenize.mockClear();
  await post("/tokenize", { prompt: "x" });
  await post("/tokenize", { prompt: "x", add_special_tokens: false });
  expect(tokenize.mock.calls.map(([, given]) => given?.addSpecialTokens)).toEqual([true, false]);
});

it("gives the text of tokens back", async () => {
  expect((await post("/detokenize", { tokens: [0, 3] })).json()).toEqual({ prompt: " the river" });
  expect((await post("/detokenize", { tokens: [] })).json()).toEqual({ prompt: "" });
});

it.each<[string, object, string | null]>([
  ["/tokenize", {}, "prompt"],
  ["/tokenize", { prompt: 5 }, "prompt"],
  ["/tokenize", { prompt: "x", messages: [{ role: "user", content: "x" }] }, "messages"],
  ["/tokenize", { messages: [] }, "messages"],
  ["/tokenize", { messages: [{ role: "user", content: 5 }] }, "messages[0].content"],
  ["/tokenize", { prompt: "x", add_special_tokens: "no" }, "add_special_tokens"],
  ["/tokenize", [], null],
  ["/detokenize", {}, "tokens"],
  ["/detokenize", { tokens: "x" }, "tokens"],
  ["/detokenize", { tokens: [0, -1] }, "tokens[1]"],
  ["/detokenize", { tokens: [model.info.vocabSize] }, "tokens[0]"],
  ["/detokenize", { tokens: [1.5] }, "tokens[0]"],
  ["/detokenize", { tokens: new Array(51).fill(1) }, "tokens"],
])("%s refuses %j", async (url, payload, param) => {
  const response = await post(url, payload);
  expect(response.statusCode).toBe(400);
  expect(response.json().error).toMatchObject({ type: "invalid_request_error", param });
  expect((await post("/tokenize", { prompt: "the" })).statusCode).toBe(200);
});

it("knows no other model", async () => {
  for (const [url, payload] of [
    ["/tokenize", { prompt: "x" }],
    ["/detokenize", { tokens: [1] }],
  ] as const) {
    expect((await post(url, { ...payload, model: "other" })).statusCode).toBe(404);
  }
});

it("describes the tokenizer", async () => {
  const { vocabSize, maxModelLen, chatTemplate } = model.info;
  expect((await app.inject("/tokenizer_info")).json()).toEqual({
    bos_token: "<s>",
    eos_token: "</s>",
    vocab_size: vocabSize,
    model_max_length: maxModelLen,
    chat_template: chatTemplate,
  });
});
