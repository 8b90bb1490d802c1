import Anthropic from "@anthropic-ai/sdk";
import { EngineError } from "../../../src/errors";
import { stringifyJson } from "../../../src/json/stringify";
import { type RunningServer, type ServeOptions, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

const template = "{% if tools %}<tool_call>{% endif %}";
const script = 'I look.\n<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>';

async function start(options: FakeLanguageModelOptions = {}, serverOptions: ServeOptions = {}) {
  const model = new FakeLanguageModel({ chatTemplate: template, ...options });
  const server = await serve(model, { port: 0, drainTimeoutMs: 0, ...serverOptions });
  servers.push(server);
  const client = new Anthropic({ baseURL: server.url, apiKey: "key", maxRetries: 0 });
  return { model, client, url: server.url };
}

const request = {
  model: "fake-mamba",
  max_tokens: 40,
  temperature: 0,
  messages: [{ role: "user" as const, content: "the river" }],
};
const input_schema = { type: "object" as const, properties: { command: { type: "string" } } };
const tools = [{ name: "Bash", description: "Runs", input_schema }];

it("answers, and counts tokens", async () => {
  const { model, client } = await start();
  const message = await client.messages.create({ ...request, system: "Be brief.", ...{ top_k: 5, top_p: 0.5 } });
  expect(message).toMatchObject({
    id: expect.stringMatching(/^msg_/),
    type: "message",
    role: "assistant",
    model: "fake-mamba",
    content: [{ type: "text", text: expect.stringMatching(/.{10}/) }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { input_tokens: expect.any(Number), output_tokens: 12 },
  });
  expect(model.calls[0]).toMatchObject({
    prompt: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "the river" },
    ],
    params: { temperature: 0, topK: 5, topP: 0.5, maxTokens: 40 },
  });
  expect((await client.messages.create({ ...request, max_tokens: 2 })).stop_reason).toBe("max_tokens");
  const { input_tokens } = await client.messages.countTokens({ model: request.model, messages: request.messages });
  expect(input_tokens).toBe(3);
});

it("names the stop sequence, whose text is not shown", async () => {
  const { client } = await start({ script: "one two three" });
  const stop = { ...request, stop_sequences: ["four", " three"] };
  const message = await client.messages.create(stop);
  expect(message).toMatchObject({
    content: [{ text: "one two" }],
    stop_reason: "stop_sequence",
    stop_sequence: " three",
  });
  const streamed = await client.messages.stream(stop).finalMessage();
  expect(streamed).toMatchObject({
    content: [{ text: "one two" }],
    stop_reason: "stop_sequence",
    stop_sequence: " three",
  });
  const both = await client.messages.create({ ...request, stop_sequences: ["three", " three"] });
  expect(both).toMatchObject({ content: [{ text: "one two" }], stop_sequence: " three" });
});

it("calls are blocks, streamed or not", async () => {
  const { model, client } = await start({ script });
  const message = await client.messages.create({ ...request, tools });
  expect(message).toMatchObject({
    content: [
      { type: "text", text: "I look." },
      { type: "tool_use", id: expect.stringMatching(/^toolu_/), name: "Bash", input: { command: "ls" } },
    ],
    stop_reason: "tool_use",
  });
  expect(stringifyJson(model.calls[0]!.params.chat)).toBe(
    stringifyJson({
      tools: [{ type: "function", function: { name: "Bash", description: "Runs", parameters: input_schema } }],
    }),
  );
  const kinds: string[] = [];
  const stream = client.messages.stream({ ...request, tools }).on("streamEvent", ({ type }) => kinds.push(type));
  const streamed = await stream.finalMessage();
  const plain = (content: unknown) =>
    JSON.parse(JSON.stringify(content, (key, value) => (key === "id" ? undefined : value)));
  expect(plain(streamed.content)).toEqual(plain(message.content));
  expect(streamed.stop_reason).toBe("tool_use");
  expect(kinds.filter((kind, i) => kind !== kinds[i - 1])).toEqual([
    "message_start",
    ...["content_block_start", "content_block_delta", "content_block_stop"],
    ...["content_block_start", "content_block_delta", "content_block_stop"],
    "message_delta",
    "message_stop",
  ]);
});

it.each([{ type: "any" }, { type: "tool", name: "Bash" }] as const)(
  "tool_choice %j forces a call",
  async (tool_choice) => {
    const { client } = await start({ chatTemplate: "x" });
    const { content, stop_reason } = await client.messages.create({ ...request, tools, tool_choice });
    expect(content).toMatchObject([{ type: "tool_use", name: "Bash", input: { command: "river" } }]);
    expect(stop_reason).toBe("tool_use");
    const cut = await client.messages.create({ ...request, tools, tool_choice, max_tokens: 1 });
    expect(cut.stop_reason).toBe("max_tokens");
  },
);

it("results of tools go before what is said beside them", async () => {
  const { model, client } = await start();
  await client.messages.create({
    ...request,
    messages: [
      { role: "user", content: "list" },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "hm", signature: "x" },
          { type: "text", text: "I look." },
          { type: "tool_use", id: "t1", name: "Bash", input: { command: "ls" } },
          { type: "tool_use", id: "t2", name: "Bash", input: {} },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "t1", content: [{ type: "text", text: "a.txt" }] },
          { type: "tool_result", tool_use_id: "t2", is_error: true, content: "no" },
          { type: "text", text: "Go on." },
        ],
      },
    ],
  });
  expect(model.calls[0]!.prompt).toEqual([
    { role: "user", content: "list" },
    {
      role: "assistant",
      content: "I look.",
      toolCalls: [
        { id: "t1", name: "Bash", arguments: { command: "ls" } },
        { id: "t2", name: "Bash", arguments: {} },
      ],
    },
    { role: "tool", content: "a.txt", toolCallId: "t1" },
    { role: "tool", content: "no", toolCallId: "t2" },
    { role: "user", content: "Go on." },
  ]);
});

it.each(["output_config", "output_format"])("%s gives the output its form", async (field) => {
  const { url, model } = await start();
  const format = { type: "json_schema", schema: { type: "object", properties: { size: { type: "integer" } } } };
  const post = async (change: object) => {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ ...request, ...change });
    const response = await fetch(`${url}/v1/messages`, { method: "POST", headers, body });
    return (await response.json()) as { content: unknown };
  };
  const { content } = await post({ [field]: field === "output_config" ? { effort: "low", format } : format });
  expect(content).toEqual([{ type: "text", text: '{"size":3}' }]);
  expect(model.calls[0]!.params.constraint).toEqual({ kind: "json_schema", schema: format.schema });
});

describe("errors have Anthropic's shape", () => {
  it.each<[object, string]>([
    [{ max_tokens: undefined }, "max_tokens"],
    [{ messages: [] }, "messages"],
    [{ messages: [{ role: "system", content: "x" }] }, "messages[0].role"],
    [{ messages: [{ role: "user", content: [{ type: "image" }] }] }, "messages[0].content[0].type"],
    [
      { messages: [{ role: "user", content: [{ type: "tool_result", tool_use_id: 1 }] }] },
      "messages[0].content[0].tool_use_id",
    ],
    [{ temperature: 1.5 }, "temperature"],
    [{ stop_sequences: [""] }, "stop_sequences[0]"],
    [{ tools: [{ name: "a b", input_schema }] }, "tools[0].name"],
    [{ tools: [{ name: "f", input_schema: 5 }] }, "tools[0].input_schema"],
    [{ tool_choice: { type: "any" } }, "tool_choice"],
    [{ output_config: { format: { type: "x" } } }, "output_config.format"],
    [{ output_format: { type: "json_schema" } }, "output_format.schema"],
    [
      {
        tools: [{ name: "f", input_schema }],
        tool_choice: { type: "any" },
        output_format: { type: "json_schema", schema: {} },
      },
      "tool_choice",
    ],
  ])("%j", async (change, field) => {
    const { url } = await start();
    const body = JSON.stringify({ ...request, ...change });
    const response = await fetch(`${url}/v1/messages`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      type: "error",
      error: { type: "invalid_request_error", message: expect.stringContaining(`${field}: `) },
    });
  });

  it("and the client knows them by class", async () => {
    const { client } = await start({}, { apiKeys: ["other"] });
    await expect(client.messages.create(request)).rejects.toBeInstanceOf(Anthropic.AuthenticationError);
    const open = await start();
    await expect(open.client.messages.create({ ...request, model: "other" })).rejects.toBeInstanceOf(
      Anthropic.NotFoundError,
    );
    const busy = await start({ maxRunning: 0 });
    await expect(busy.client.messages.create(request)).rejects.toBeInstanceOf(Anthropic.RateLimitError);
    const failing = await start({ failure: { afterTokens: 2, error: new EngineError("ERR_NON_FINITE", "x") } });
    await expect(failing.client.messages.create(request)).rejects.toBeInstanceOf(Anthropic.InternalServerError);
    await expect(failing.client.messages.stream(request).finalMessage()).rejects.toBeInstanceOf(Anthropic.APIError);
  });

  it.each([
    ["ERR_NON_FINITE", "api_error"],
    ["ERR_ENGINE_LOST", "overloaded_error"],
  ] as const)("in mid-stream too: %s is %s", async (code, type) => {
    const { client } = await start({ failure: { afterTokens: 2, error: new EngineError(code, "x") } });
    const streamed = client.messages.stream(request).finalMessage();
    await expect(streamed).rejects.toMatchObject({ error: { type: "error", error: { type } } });
  });
});
