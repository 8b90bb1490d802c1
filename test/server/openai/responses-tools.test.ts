import OpenAI from "openai";
import { type RunningServer, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

const template = "{% if tools %}<tool_call>{% endif %}";
const script = 'I look.\n<tool_call>\n{"name": "shell", "arguments": {"command": ["ls"]}}\n</tool_call>';

async function start(options: FakeLanguageModelOptions = {}) {
  const model = new FakeLanguageModel({ chatTemplate: template, script, ...options });
  const server = await serve(model, { port: 0, drainTimeoutMs: 0 });
  servers.push(server);
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  return { model, client, url: server.url };
}

const parameters = { type: "object", properties: { command: { type: "array", items: { type: "string" } } } };
const shell = { type: "function" as const, name: "shell", description: "Runs", strict: false, parameters };
const request = { model: "fake-mamba", input: "list the files", tools: [shell] };

it("calls are items of the output, after the text before them", async () => {
  const { model, client } = await start();
  const { output, status, tools, tool_choice } = await client.responses.create(request);
  expect({ status, tools, tool_choice }).toEqual({ status: "completed", tools: [shell], tool_choice: "auto" });
  expect(output).toMatchObject([
    { type: "message", status: "completed", content: [{ type: "output_text", text: "I look." }] },
    { type: "function_call", status: "completed", name: "shell", arguments: '{"command": ["ls"]}' },
  ]);
  const { strict, type, ...definition } = shell;
  expect(model.calls[0]!.params.chat).toEqual({ tools: [{ type, function: definition }] });
});

it("streams the same items, each event in its place", async () => {
  const { client } = await start();
  const whole = await client.responses.create(request);
  const stream = client.responses.stream(request);
  const events: OpenAI.Responses.ResponseStreamEvent[] = [];
  for await (const event of stream) events.push(event);
  expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
  const kinds = events.map(({ type }) => type.replace("response.", ""));
  expect(kinds.filter((kind, i) => kind !== kinds[i - 1])).toEqual([
    ...["created", "in_progress"],
    ...["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"],
    "output_item.done",
    ...["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"],
    "completed",
  ]);
  const final = await stream.finalResponse();
  const plain = (items: readonly object[]) =>
    JSON.parse(
      JSON.stringify(items, (key, value) => (/^(id|call_id|parsed_arguments|parsed)$/.test(key) ? undefined : value)),
    );
  expect(plain(final.output)).toEqual(plain(whole.output));
});

it.each(["required", { type: "function", name: "shell" }] as const)(
  "tool_choice %j holds the output to a call",
  async (tool_choice) => {
    const { client } = await start({ script: undefined as never, chatTemplate: "x" });
    const { output } = await client.responses.create({ ...request, tool_choice });
    expect(output).toMatchObject([{ type: "function_call", name: "shell" }]);
    const cut = await client.responses.create({ ...request, tool_choice, max_output_tokens: 1 });
    expect(cut).toMatchObject({ status: "incomplete", output_text: "" });
  },
);

it("results go back with the calls that they answer", async () => {
  const { model, client } = await start();
  await client.responses.create({
    ...request,
    input: [
      { role: "user", content: "list" },
      { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "x" } as never,
      {
        type: "message",
        role: "assistant",
        content: [{ type: "output_text", text: "I look.", annotations: [] }],
      } as never,
      { type: "function_call", call_id: "c1", name: "shell", arguments: '{"command":["ls"]}' },
      { type: "function_call", call_id: "c2", name: "shell", arguments: "" },
      { type: "function_call_output", call_id: "c1", output: "a.txt" },
      { type: "function_call_output", call_id: "c2", output: [{ type: "input_text", text: "b" }] },
    ],
  });
  expect(model.calls[0]!.prompt).toEqual([
    { role: "user", content: "list" },
    {
      role: "assistant",
      content: "I look.",
      toolCalls: [
        { id: "c1", name: "shell", arguments: { command: ["ls"] } },
        { id: "c2", name: "shell", arguments: {} },
      ],
    },
    { role: "tool", content: "a.txt", toolCallId: "c1" },
    { role: "tool", content: "b", toolCallId: "c2" },
  ]);
});

/** Requests of the shape that Codex sends to a Responses API. */
const codex = {
  model: "fake-mamba",
  instructions: "You are Codex, a coding agent.",
  input: [
    { type: "message", role: "developer", content: [{ type: "input_text", text: "<permissions>" }] },
    { type: "message", role: "user", content: [{ type: "input_text", text: "<environment_context>" }] },
    { type: "message", role: "user", content: [{ type: "input_text", text: "list the files" }] },
  ],
  tools: [
    shell,
    {
      type: "function",
      name: "update_plan",
      description: "Plans",
      strict: false,
      parameters: { type: "object", properties: {}, additionalProperties: false },
    },
    { type: "web_search", external_web_access: false },
    {
      type: "custom",
      name: "apply_patch",
      description: "Edits",
      format: { type: "grammar", syntax: "lark", definition: "start: /x/" },
    },
    { type: "namespace", name: "mcp__files", description: "Files", tools: [shell] },
    { type: "image_generation", output_format: "png" },
    { type: "local_shell" },
  ],
  tool_choice: "auto",
  parallel_tool_calls: false,
  reasoning: { effort: "medium", summary: "auto" },
  store: false,
  stream: true,
  include: ["reasoning.encrypted_content"],
  prompt_cache_key: "0198f0e2-7d1c-7000-8000-000000000000",
  client_metadata: { originator: "codex_cli_rs" },
  text: { verbosity: "medium" },
};

it("a turn of Codex: the call, then its result", async () => {
  const { url } = await start();
  const post = async (body: object) => {
    const response = await fetch(`${url}/v1/responses`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "text/event-stream",
        "openai-beta": "responses=experimental",
      },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(200);
    return (await response.text()).split("\n\n").flatMap((frame) => {
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      return data === undefined ? [] : [JSON.parse(data)];
    });
  };
  const done = (await post(codex)).filter(({ type }) => type === "response.output_item.done").map(({ item }) => item);
  expect(done.map(({ type }) => type)).toEqual(["message", "function_call"]);
  const { call_id, name, arguments: given, type } = done[1];
  const result = { type: "function_call_output", call_id, output: "a.txt" };
  const next = await post({
    ...codex,
    input: [...codex.input, done[0], { type, call_id, name, arguments: given }, result],
  });
  expect(next.at(-1)).toMatchObject({
    type: "response.completed",
    response: { usage: { output_tokens: expect.any(Number) } },
  });
});
