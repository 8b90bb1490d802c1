import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { type RunningServer, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function start(options: FakeLanguageModelOptions = {}) {
  const model = new FakeLanguageModel({ chatTemplate: "{% if tools %}<tool_call>{% endif %}", ...options });
  const server = await serve(model, { port: 0, drainTimeoutMs: 0, apiKeys: ["key"] });
  servers.push(server);
  return { model, client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "key", maxRetries: 0 }) };
}

const request = { model: "fake-mamba", messages: [{ role: "user" as const, content: "Cold?" }], temperature: 0 };
const parameters = { type: "object", properties: { city: { type: "string" } } };
const weather = { type: "function" as const, function: { name: "weather", description: "Tells it.", parameters } };
const script = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';

it("puts the calls of a stream together", async () => {
  const { client } = await start({ script: `I look. ${script}` });
  const stream = client.chat.completions.stream({ ...request, tools: [weather] });
  const parts: string[] = [];
  stream.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => void parts.push(arguments_delta));
  const { choices } = await stream.finalChatCompletion();
  expect(choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { content: "I look." } });
  expect(choices[0]!.message.tool_calls).toMatchObject([
    {
      id: expect.stringMatching(/^call_/),
      type: "function",
      function: { name: "weather", arguments: '{"city": "Oslo"}' },
    },
  ]);
  expect(parts.join("")).toBe('{"city": "Oslo"}');
  expect(parts.length).toBeGreaterThan(2);
});

it("runs tools until there is an answer", async () => {
  let round = 0;
  const { client, model } = await start({ script });
  const generate = model.generate.bind(model);
  const answer = new FakeLanguageModel();
  jest
    .spyOn(model, "generate")
    .mockImplementation((...call) => (round++ === 0 ? generate(...call) : answer.generate(...call)));
  const runner = client.chat.completions.runTools({
    ...request,
    tools: [
      {
        type: "function",
        function: {
          ...weather.function,
          parse: JSON.parse,
          function: ({ city }: { city: string }) => `cold in ${city}`,
        },
      },
    ],
  });
  expect((await runner.finalContent())!.length).toBeGreaterThan(10);
  expect(answer.calls[0]!.prompt).toMatchObject([
    { role: "user", content: "Cold?" },
    { role: "assistant", toolCalls: [{ name: "weather", arguments: { city: "Oslo" } }] },
    { role: "tool", content: "cold in Oslo" },
  ]);
});

it("parses output of a given form", async () => {
  const { client, model } = await start();
  const Stone = z.object({ name: z.string(), weight: z.number() });
  const parsed = await client.chat.completions.parse({
    ...request,
    response_format: zodResponseFormat(Stone, "stone"),
  });
  expect(parsed.choices[0]!.message.parsed).toEqual({ name: "river", weight: 1.5 });
  expect(model.calls[0]!.params.constraint).toMatchObject({
    kind: "json_schema",
    schema: { required: ["name", "weight"] },
  });
});

it("raises AuthenticationError for a wrong key", async () => {
  const { client } = await start();
  const wrong = new OpenAI({ baseURL: client.baseURL, apiKey: "other", maxRetries: 0 });
  const error = await wrong.models.list().then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
  expect(error).toMatchObject({ status: 401, code: "invalid_api_key", type: "authentication_error" });
});
