import { type AIMessageChunk, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI, OpenAI } from "@langchain/openai";
import { type RunningServer, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function start(modelOptions: FakeLanguageModelOptions = {}) {
  const fake = new FakeLanguageModel({ chatTemplate: "{% if tools %}<tool_call>{% endif %}", ...modelOptions });
  const server = await serve(fake, { port: 0, drainTimeoutMs: 0 });
  servers.push(server);
  const fields = {
    model: "fake-mamba",
    apiKey: "none",
    temperature: 0,
    maxRetries: 0,
    configuration: { baseURL: `${server.url}/v1` },
  };
  return { fake, fields, chat: new ChatOpenAI(fields) };
}

it("chats, and streams the same text with the usage", async () => {
  const { chat } = await start();
  const whole = await chat.invoke([new HumanMessage("the river")]);
  expect(whole.text.length).toBeGreaterThan(10);
  expect(whole.usage_metadata).toMatchObject({ output_tokens: 12 });
  let all: AIMessageChunk | undefined;
  for await (const chunk of await chat.stream([new HumanMessage("the river")])) {
    all = all === undefined ? chunk : all.concat(chunk);
  }
  expect(all!.text).toBe(whole.text);
  expect(all!.usage_metadata).toMatchObject({ output_tokens: 12 });
  expect(all!.response_metadata.finish_reason).toBe("stop");
});

it("completes", async () => {
  const { fields } = await start();
  const llm = new OpenAI({ ...fields, maxTokens: 5 });
  const text = await llm.invoke("the river");
  expect(text.length).toBeGreaterThan(5);
  let streamed = "";
  for await (const part of await llm.stream("the river")) streamed += part;
  expect(streamed).toBe(text);
});

it("calls tools and sends their results back", async () => {
  const script = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
  const { chat, fake } = await start({ script });
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const bound = chat.bindTools([
    { type: "function", function: { name: "weather", description: "Tells it.", parameters } },
  ]);
  const question = new HumanMessage("Cold?");
  const answer = await bound.invoke([question]);
  expect(answer.tool_calls).toMatchObject([{ name: "weather", args: { city: "Oslo" } }]);
  const { id } = answer.tool_calls![0]!;
  await bound.invoke([question, answer, new ToolMessage({ content: "5 degrees", tool_call_id: id! })]);
  expect(fake.calls[1]!.prompt).toMatchObject([
    { role: "user" },
    { role: "assistant", toolCalls: [{ id, name: "weather", arguments: { city: "Oslo" } }] },
    { role: "tool", content: "5 degrees", toolCallId: id },
  ]);
  let all: AIMessageChunk | undefined;
  for await (const chunk of await bound.stream([question])) all = all === undefined ? chunk : all.concat(chunk);
  expect(all!.tool_calls).toMatchObject([{ name: "weather", args: { city: "Oslo" } }]);
});

it("gets output of a given form, as a schema and as a call", async () => {
  const { chat } = await start();
  const schema = { title: "Stone", type: "object", properties: { name: { type: "string" } }, required: ["name"] };
  for (const method of ["jsonSchema", "functionCalling", "jsonMode"] as const) {
    const expected = method === "jsonMode" ? { river: "stone" } : { name: "river" };
    expect(await chat.withStructuredOutput(schema, { method }).invoke("A stone, as JSON")).toEqual(expected);
  }
});

it("raises errors of the client underneath", async () => {
  const { fields } = await start();
  const other = new ChatOpenAI({ ...fields, model: "other" });
  await expect(other.invoke("x")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
});
