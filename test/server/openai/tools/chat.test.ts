import "../../../helpers/allow-inject";
import { buildApp } from "../../../../src/server/app";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../../helpers/fake-language-model";

const closers: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(closers.map((close) => close())));

const template = "{% if tools %}<tool_call>{% endif %}";
const tool = (name: string, parameters?: object) => ({
  type: "function",
  function: { name, ...(parameters && { parameters }) },
});
const weather = tool("weather", { type: "object", properties: { city: { type: "string" } } });
const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';

function build(options: FakeLanguageModelOptions = {}) {
  const model = new FakeLanguageModel({ chatTemplate: template, ...options });
  const app = buildApp(model);
  closers.push(() => app.close());
  const post = async (body: object) => {
    const messages = [{ role: "user", content: "Is it cold?" }];
    const payload = { messages, tools: [weather], temperature: 0, ...body };
    return app.inject({ method: "POST", url: "/v1/chat/completions", payload });
  };
  const stream = async (body: object) => {
    const lines = (await post({ ...body, stream: true })).body.split("\n");
    return lines.filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)).choices[0]);
  };
  return { model, post, stream };
}

/** What a client puts together from a stream, and the ids it saw. */
function assemble(choices: readonly { delta: Record<string, unknown>; finish_reason: string | null }[]) {
  let content = "";
  const calls: { name: string; arguments: string; id: string }[] = [];
  for (const { delta } of choices) {
    content += (delta.content as string | undefined) ?? "";
    for (const part of (delta.tool_calls ?? []) as { index: number; id?: string; function: Record<string, string> }[]) {
      calls[part.index] ??= { name: "", arguments: "", id: "" };
      const known = calls[part.index]!;
      known.name += part.function.name ?? "";
      known.arguments += part.function.arguments ?? "";
      known.id += part.id ?? "";
    }
  }
  return { content, calls, finish: choices.at(-1)!.finish_reason };
}

it("answers with the calls that the model wrote, streamed alike", async () => {
  const { post, stream } = build({ script: `I look.\n${call}\n${call.replace("Oslo", "Rome")}` });
  const [choice] = (await post({})).json().choices;
  expect(choice).toMatchObject({ finish_reason: "tool_calls", message: { role: "assistant", content: "I look." } });
  const { tool_calls } = choice.message;
  expect(tool_calls).toEqual(
    ["Oslo", "Rome"].map((city) => ({
      id: expect.stringMatching(/^call_[\da-f]{24}$/),
      type: "function",
      function: { name: "weather", arguments: `{"city": "${city}"}` },
    })),
  );
  expect(new Set(tool_calls.map(({ id }: { id: string }) => id)).size).toBe(2);
  const streamed = await stream({});
  const { content, calls, finish } = assemble(streamed);
  expect({ content, finish }).toEqual({ content: "I look.", finish: "tool_calls" });
  expect(calls.map(({ name, arguments: given }) => [name, given])).toEqual([
    ["weather", '{"city": "Oslo"}'],
    ["weather", '{"city": "Rome"}'],
  ]);
  expect(streamed.filter(({ delta }) => delta.tool_calls).length).toBeGreaterThan(4);
});

it("has no content where there is nothing but a call, and one call where more are not wanted", async () => {
  const { post } = build({ script: call + call });
  const { message } = (await post({ parallel_tool_calls: false })).json().choices[0];
  expect(message.content).toBeNull();
  expect(message.tool_calls).toHaveLength(1);
});

it("tells the model of the tools, and only where it may use them", async () => {
  const { model, post } = build();
  await post({});
  await post({ tool_choice: "none" });
  await post({ tools: [] });
  expect(model.calls.map(({ params }) => params.chat)).toEqual([{ tools: [weather] }, undefined, undefined]);
});

it("looks for no calls where none were offered", async () => {
  const { post } = build({ script: call });
  for (const body of [{ tools: undefined }, { tool_choice: "none" }]) {
    const [choice] = (await post(body)).json().choices;
    expect(choice).toMatchObject({ finish_reason: "stop", message: { content: call } });
  }
});

it("cut off in a call: the reason is the length", async () => {
  const { post } = build({ script: call });
  const [choice] = (await post({ max_tokens: 19 })).json().choices;
  expect(choice.finish_reason).toBe("length");
  expect(choice.message.tool_calls[0].function.arguments).toBe('{"city": "Os');
});

it("required: a constraint makes calls of the output, in any model", async () => {
  const { model, post, stream } = build({ chatTemplate: "none" });
  const body = { tool_choice: "required", tools: [weather, tool("other")] };
  const [choice] = (await post(body)).json().choices;
  expect(choice.message.tool_calls[0].function).toEqual({ name: "weather", arguments: '{"city":"river"}' });
  expect(choice).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
  expect(model.calls[0]!.params.constraint).toMatchObject({
    kind: "json_schema",
    schema: { type: "array", minItems: 1 },
  });
  expect(assemble(await stream(body)).calls).toMatchObject([{ name: "weather", arguments: '{"city":"river"}' }]);
  await post({ ...body, parallel_tool_calls: false });
  expect(model.calls[2]!.params.constraint).toMatchObject({ schema: { maxItems: 1 } });
});

it("a named function: the output is its arguments", async () => {
  const { model, post, stream } = build();
  const body = { tool_choice: { type: "function", function: { name: "weather" } } };
  const [choice] = (await post(body)).json().choices;
  expect(choice.message.tool_calls).toMatchObject([{ function: { name: "weather", arguments: '{"city":"river"}' } }]);
  expect(model.calls[0]!.params.constraint).toEqual({ kind: "json_schema", schema: weather.function.parameters });
  expect(assemble(await stream(body)).calls).toMatchObject([{ name: "weather", arguments: '{"city":"river"}' }]);
});

it("does not lose log probabilities of tokens that show nothing yet", async () => {
  const { stream } = build({ script: `x${call}` });
  const parts = await stream({ logprobs: true });
  const count = Math.ceil(`x${call}`.length / 3);
  expect(parts.flatMap(({ logprobs }) => logprobs?.content ?? [])).toHaveLength(count);
});

it.each([1, 2, 3, 5, 9])("required: a call that is cut off after %d tokens is no text", async (max_tokens) => {
  for (const stream of [false, true]) {
    const app = buildApp(new FakeLanguageModel());
    const payload = {
      messages: [{ role: "user", content: "x" }],
      tools: [weather],
      tool_choice: "required",
      max_tokens,
      stream,
    };
    const { body } = await app.inject({ method: "POST", url: "/v1/chat/completions", payload });
    await app.close();
    const parts = stream
      ? body
          .split("\n")
          .flatMap((line) => (line.startsWith("data: {") ? [JSON.parse(line.slice(6)).choices[0].delta] : []))
      : [JSON.parse(body).choices[0].message];
    expect(parts.map(({ content }) => content ?? "").join("")).toBe("");
    expect(body).toContain('"finish_reason":"length"');
  }
});
