import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { type RunningServer, type ServeOptions, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";
import { until } from "../../helpers/until";

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function start(modelOptions: FakeLanguageModelOptions = {}, options: ServeOptions = {}) {
  const fake = new FakeLanguageModel({ chatTemplate: "{% if tools %}<tool_call>{% endif %}", ...modelOptions });
  const server = await serve(fake, { port: 0, drainTimeoutMs: 0, apiKeys: ["key"], ...options });
  servers.push(server);
  const provider = createOpenAICompatible({
    name: "mamba-serve",
    baseURL: `${server.url}/v1`,
    apiKey: "key",
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  return { fake, provider, model: provider("fake-mamba") };
}

const settings = { prompt: "the river", temperature: 0, maxRetries: 0 };

it("generates and streams the same text, with the usage", async () => {
  const { model, fake } = await start();
  const whole = await generateText({ ...settings, model, system: "Be brief." });
  expect(whole.text.length).toBeGreaterThan(10);
  expect(whole.finishReason).toBe("stop");
  expect(whole.usage).toMatchObject({ outputTokens: 12 });
  const stream = streamText({ ...settings, model, system: "Be brief." });
  let text = "";
  for await (const part of stream.textStream) text += part;
  expect(text).toBe(whole.text);
  expect(await stream.usage).toMatchObject({ inputTokens: whole.usage.inputTokens, outputTokens: 12 });
  expect(await stream.finishReason).toBe("stop");
  expect(fake.calls[0]!.prompt).toEqual([
    { role: "system", content: "Be brief." },
    { role: "user", content: "the river" },
  ]);
});

it("completes with the completions API, streamed too", async () => {
  const { provider } = await start();
  const model = provider.completionModel("fake-mamba");
  const whole = await generateText({ ...settings, model, maxOutputTokens: 5 });
  expect(whole.finishReason).toBe("length");
  let text = "";
  for await (const part of streamText({ ...settings, model, maxOutputTokens: 5 }).textStream) text += part;
  expect(text).toBe(whole.text);
});

it("generates an object that a schema describes", async () => {
  const { model, fake } = await start();
  const schema = jsonSchema<{ name: string; size: number }>({
    type: "object",
    properties: { name: { type: "string" }, size: { type: "integer" } },
    required: ["name", "size"],
    additionalProperties: false,
  });
  const { object } = await generateObject({ ...settings, model, schema });
  expect(object).toEqual({ name: "river", size: 3 });
  expect(fake.calls[0]!.params.constraint).toMatchObject({ kind: "json_schema", schema: { type: "object" } });
});

describe("tools", () => {
  const script = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
  const weather = tool({
    description: "Tells the weather.",
    inputSchema: jsonSchema<{ city: string }>({ type: "object", properties: { city: { type: "string" } } }),
    execute: async ({ city }) => `cold in ${city}`,
  });

  it("are called, and their results go back to the model", async () => {
    const { model, fake } = await start({ script });
    const { steps } = await generateText({
      ...settings,
      model,
      tools: { weather },
      stopWhen: ({ steps: done }) => done.length === 2,
    });
    expect(steps[0]!.toolCalls).toMatchObject([{ toolName: "weather", input: { city: "Oslo" } }]);
    expect(steps[0]!.finishReason).toBe("tool-calls");
    const { toolCallId } = steps[0]!.toolCalls[0]!;
    expect(fake.calls[1]!.prompt).toEqual([
      { role: "user", content: "the river" },
      { role: "assistant", content: "", toolCalls: [{ id: toolCallId, name: "weather", arguments: { city: "Oslo" } }] },
      { role: "tool", content: "cold in Oslo", toolCallId },
    ]);
    expect(fake.calls[1]!.params.chat!.tools).toMatchObject([{ function: { name: "weather" } }]);
  });

  it("are called in a stream, and where they are required", async () => {
    const { model } = await start({ script });
    const stream = streamText({ ...settings, model, tools: { weather } });
    expect(await stream.toolCalls).toMatchObject([{ toolName: "weather", input: { city: "Oslo" } }]);
    expect(await stream.finishReason).toBe("tool-calls");
    const forced = await start();
    for (const toolChoice of ["required", { type: "tool", toolName: "weather" }] as const) {
      const answer = await generateText({ ...settings, model: forced.model, tools: { weather }, toolChoice });
      expect(answer.toolCalls).toMatchObject([{ toolName: "weather", input: { city: "river" } }]);
    }
  });
});

it("raises errors as the client's own, and tries again after overload", async () => {
  const { fake, model, provider } = await start({ maxRunning: 1, delayMs: 3 }, { retryAfterSeconds: 1 });
  const refused = generateText({ ...settings, model: provider("other") });
  await expect(refused).rejects.toMatchObject({ statusCode: 404, isRetryable: false });
  await expect(refused.catch((error) => APICallError.isInstance(error))).resolves.toBe(true);
  const first = generateText({ ...settings, model });
  await until(() => fake.running === 1);
  const second = generateText({ ...settings, model, maxRetries: 2 });
  expect((await second).text).toBe((await first).text);
  const stranger = createOpenAICompatible({ name: "x", baseURL: `${servers.at(-1)!.url}/v1`, apiKey: "wrong" });
  await expect(generateText({ ...settings, model: stranger("fake-mamba") })).rejects.toMatchObject({ statusCode: 401 });
});

it("stops the generation when it is aborted", async () => {
  const { model, fake } = await start({ delayMs: 5, naturalLength: 4000 });
  const leaving = new AbortController();
  const stream = streamText({ ...settings, model, abortSignal: leaving.signal });
  for await (const _ of stream.textStream) leaving.abort();
  await until(() => fake.running === 0);
  expect(fake.aborted).toBe(1);
});
