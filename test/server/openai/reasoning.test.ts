import "../../helpers/allow-inject";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildApp } from "../../../src/server/app";
import { detectFormat } from "../../../src/server/openai/tools/formats";
import { mayThink } from "../../../src/server/openai/tools/reasoning";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";

const closers: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(closers.map((close) => close())));

const chatTemplate = "{% if tools %}<function={% endif %}<think></think>";
const script = "<think>\nIt is winter.\n</think>\n\nCold.";

function build(options: FakeLanguageModelOptions = {}) {
  const model = new FakeLanguageModel({ chatTemplate, script, ...options });
  const app = buildApp(model);
  closers.push(() => app.close());
  const post = (url: string, payload: object) => app.inject({ method: "POST", url, payload });
  return { model, post };
}

const messages = [{ role: "user", content: "Is it cold?" }];
const eventsOf = (body: string) =>
  body
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice(6)));

test("a message has its reasoning apart, and so has a stream", async () => {
  const { post } = build();
  const { message } = (await post("/v1/chat/completions", { messages })).json().choices[0];
  expect(message).toMatchObject({ content: "Cold.", reasoning_content: "It is winter." });

  const streamed = eventsOf((await post("/v1/chat/completions", { messages, stream: true })).body);
  const deltas = streamed.map(({ choices }) => choices[0].delta);
  const joined = (field: string) => deltas.map((delta) => delta[field] ?? "").join("");
  expect([joined("reasoning_content"), joined("content")]).toEqual(["It is winter.", "Cold."]);
  expect(deltas.filter((delta) => delta.reasoning_content).length).toBeGreaterThan(1);
});

test("calls come after it", async () => {
  const call = "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>";
  const { post } = build({ script: `<think>\n<tool_call> is for tools\n</think>\n\n${call}` });
  const tools = [{ type: "function", function: { name: "weather" } }];
  const [choice] = (await post("/v1/chat/completions", { messages, tools })).json().choices;
  expect(choice).toMatchObject({
    finish_reason: "tool_calls",
    message: {
      content: null,
      reasoning_content: "<tool_call> is for tools",
      tool_calls: [{ function: { name: "weather", arguments: '{"city": "Oslo"}' } }],
    },
  });
});

test("an answer that never comes is null", async () => {
  const { post } = build({ script: "<think>\nIt is" });
  const { message } = (await post("/v1/chat/completions", { messages })).json().choices[0];
  expect(message).toMatchObject({ content: null, reasoning_content: "It is" });
});

test("an output of a given form, and that of a model that does not think, is all answer", async () => {
  const { post } = build();
  const form = { response_format: { type: "json_object" } };
  const { message } = (await post("/v1/chat/completions", { messages, ...form })).json().choices[0];
  expect(message).toEqual({ role: "assistant", content: script, refusal: null });
  const other = build({ chatTemplate: "{{ messages }}" });
  const answer = (await other.post("/v1/chat/completions", { messages })).json().choices[0].message;
  expect(answer.content).toBe(script);
});

test("earlier reasoning reaches the template, and so does enable_thinking", async () => {
  const { model, post } = build();
  const earlier = { role: "assistant", content: "Yes.", reasoning_content: "Snow." };
  const chat_template_kwargs = { enable_thinking: false };
  await post("/v1/chat/completions", { messages: [...messages, earlier, ...messages], chat_template_kwargs });
  const [{ prompt, params }] = model.calls as [(typeof model.calls)[0]];
  expect((prompt as object[])[1]).toEqual({ role: "assistant", content: "Yes.", reasoning: "Snow." });
  expect(params.chat).toEqual({ templateArguments: { enable_thinking: false } });
});

test("an answer that the limit cut off while the model thought can be sent back as it came", async () => {
  const { model, post } = build({ script: "<think>\nIt is" });
  const { message } = (await post("/v1/chat/completions", { messages })).json().choices[0];
  const answer = await post("/v1/chat/completions", { messages: [...messages, message, ...messages] });
  expect(answer.statusCode).toBe(200);
  expect((model.calls[1]!.prompt as object[])[1]).toEqual({ role: "assistant", content: "", reasoning: "It is" });
  const nothing = { ...message, reasoning_content: "" };
  expect((await post("/v1/chat/completions", { messages: [nothing] })).json().error.param).toBe("messages[0].content");
});

test("a response has an item of it", async () => {
  const { post } = build();
  const { output, usage } = (await post("/v1/responses", { input: "Is it cold?" })).json();
  // Three characters a token; the marks count.
  expect(usage).toMatchObject({ output_tokens: 13, output_tokens_details: { reasoning_tokens: 10 } });
  expect(output).toMatchObject([
    { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "It is winter." }] },
    { type: "message", content: [{ type: "output_text", text: "Cold." }] },
  ]);
  const events = eventsOf((await post("/v1/responses", { input: "Is it cold?", stream: true })).body);
  const deltas = events.filter(({ type }) => type === "response.reasoning_text.delta");
  expect(deltas.map(({ delta }) => delta).join("")).toBe("It is winter.");
  expect(events).toContainEqual(
    expect.objectContaining({ type: "response.reasoning_text.done", text: "It is winter." }),
  );
});

test("a message of Anthropic's has a block of it", async () => {
  const { post } = build();
  const body = { messages, max_tokens: 100 };
  expect((await post("/v1/messages", body)).json().content).toEqual([
    { type: "thinking", thinking: "It is winter.", signature: "" },
    { type: "text", text: "Cold." },
  ]);
  const events = eventsOf((await post("/v1/messages", { ...body, stream: true })).body);
  const deltas = events.filter(({ delta }) => delta?.type === "thinking_delta");
  expect(deltas.map(({ delta }) => delta.thinking).join("")).toBe("It is winter.");
});

test("images are refused by name", async () => {
  const { post } = build();
  const content = [{ type: "image_url", image_url: { url: "data:image/png;base64,AA==" } }];
  const answer = await post("/v1/chat/completions", { messages: [{ role: "user", content }] });
  expect(answer.statusCode).toBe(400);
  expect(answer.json().error.message).toContain("image_url");
});

test.each([
  ["qwen-3", "hermes"],
  ["qwen-3.5", "qwen3_coder"],
])("the template of %s thinks, and calls as %s", (name, format) => {
  const source = readFileSync(join(__dirname, "../../golden/jinja/templates", `${name}.jinja`), "utf8");
  expect(mayThink(source)).toBe(true);
  expect(detectFormat(source)).toBe(format);
});
