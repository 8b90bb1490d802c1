import "../../helpers/allow-inject";
import OpenAI from "openai";
import { EngineError } from "../../../src/errors";
import { buildApp } from "../../../src/server/app";
import { type RunningServer, serve } from "../../../src/server/serve";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";
import { failure } from "../../helpers/openai-conformance";
import { until } from "../../helpers/until";

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function start(options: FakeLanguageModelOptions = {}) {
  const model = new FakeLanguageModel(options);
  const server = await serve(model, { port: 0, drainTimeoutMs: 0 });
  servers.push(server);
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  return { model, client };
}

const request = { model: "fake-mamba", input: "the river", temperature: 0 };

describe("the official client", () => {
  it("gets an answer", async () => {
    const { model, client } = await start();
    const response = await client.responses.create({ ...request, instructions: "Be brief.", metadata: { a: "b" } });
    expect(response).toMatchObject({
      id: expect.stringMatching(/^resp_/),
      object: "response",
      status: "completed",
      model: "fake-mamba",
      instructions: "Be brief.",
      metadata: { a: "b" },
      error: null,
      incomplete_details: null,
      store: false,
      output: [
        {
          id: expect.stringMatching(/^msg_/),
          type: "message",
          role: "assistant",
          status: "completed",
          content: [{ type: "output_text", annotations: [] }],
        },
      ],
    });
    expect(response.output_text).toBe(
      (response.output[0] as OpenAI.Responses.ResponseOutputMessage).content
        .map((part) => (part.type === "output_text" ? part.text : ""))
        .join(""),
    );
    expect(response.output_text.length).toBeGreaterThan(10);
    expect(response.usage).toMatchObject({ output_tokens: 12, total_tokens: response.usage!.input_tokens + 12 });
    expect(model.calls[0]).toMatchObject({
      prompt: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "the river" },
      ],
      params: { temperature: 0 },
    });
  });

  it("sends a conversation, with texts in parts and answers sent back", async () => {
    const { model, client } = await start();
    const first = await client.responses.create(request);
    await client.responses.create({
      ...request,
      max_output_tokens: 3,
      top_p: 0.5,
      input: [
        { role: "developer", content: "a" },
        {
          role: "user",
          content: [
            { type: "input_text", text: "b" },
            { type: "input_text", text: "c" },
          ],
        },
        ...(first.output as OpenAI.Responses.ResponseOutputMessage[]),
      ],
    });
    expect(model.calls[1]).toMatchObject({
      prompt: [
        { role: "system", content: "a" },
        { role: "user", content: "b\nc" },
        { role: "assistant", content: first.output_text },
      ],
      params: { maxTokens: 3, topP: 0.5 },
    });
  });

  it("says that an answer was cut off", async () => {
    const { client } = await start();
    const response = await client.responses.create({ ...request, max_output_tokens: 2 });
    expect(response).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  });

  it("streams the events of the real one, in order", async () => {
    const { client } = await start();
    const whole = await client.responses.create(request);
    const events: OpenAI.Responses.ResponseStreamEvent[] = [];
    for await (const event of await client.responses.create({ ...request, stream: true })) events.push(event);
    const kinds = events.map(({ type }) => type);
    expect(kinds.filter((type, i) => type !== kinds[i - 1])).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    const text = events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");
    expect(text).toBe(whole.output_text);
    const last = events.at(-1)!;
    if (last.type !== "response.completed") throw new Error(last.type);
    const { id, created_at, output, output_text, ...rest } = whole;
    expect(last.response).toMatchObject(rest);
    expect(last.response.output).toMatchObject([{ content: [{ text }] }]);
    const ids = events.map((event) => ("item_id" in event ? event.item_id : undefined)).filter((found) => found);
    expect(new Set([...ids, last.response.output[0]!.id]).size).toBe(1);
  });

  it("gives log probabilities where they are asked for, the same streamed", async () => {
    const { model, client } = await start();
    const asked = { ...request, include: ["message.output_text.logprobs" as const], top_logprobs: 2, seed: 1 };
    const partOf = ({ output }: OpenAI.Responses.Response) => {
      const [message] = output as OpenAI.Responses.ResponseOutputMessage[];
      return message!.content[0] as OpenAI.Responses.ResponseOutputText;
    };
    const response = await client.responses.create(asked);
    expect(response.top_logprobs).toBe(2);
    const { text, logprobs = [] } = partOf(response);
    expect(logprobs.map(({ token }) => token).join("")).toBe(text);
    expect(logprobs[0]).toMatchObject({ logprob: -0.5, top_logprobs: [{ logprob: -0.5 }, { logprob: -1.5 }] });
    const told: string[] = [];
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      if (event.type === "response.output_text.delta") told.push(...event.logprobs.map(({ token }) => token));
      if (event.type === "response.output_text.done") expect(event.logprobs).toHaveLength(told.length);
      if (event.type === "response.completed") expect(partOf(event.response).logprobs).toEqual(logprobs);
    }
    expect(told).toEqual(logprobs.map(({ token }) => token));
    expect(partOf(await client.responses.create(request)).logprobs).toEqual([]);
    expect(model.calls.map(({ params }) => params.logprobs)).toEqual([2, 2, undefined]);
  });

  it("takes items of its own answers by their ids, but for those that were not to be kept", async () => {
    const { model, client } = await start();
    const ask = async (store: false | undefined, stream: boolean) => {
      const asked = { ...request, ...(store === undefined ? {} : { store }) };
      const { output } = stream
        ? await client.responses.stream(asked).finalResponse()
        : await client.responses.create(asked);
      const [item] = output as [OpenAI.Responses.ResponseOutputMessage];
      const reference = { type: "item_reference" as const, id: item.id };
      await client.responses.create({ ...request, input: [reference, { role: "user", content: "Go on." }] });
      return item;
    };
    for (const stream of [false, true]) {
      const { content } = await ask(undefined, stream);
      const { text } = content[0] as OpenAI.Responses.ResponseOutputText;
      expect(model.calls.at(-1)!.prompt).toEqual([
        { role: "assistant", content: text },
        { role: "user", content: "Go on." },
      ]);
      expect(await failure(ask(false, stream))).toMatchObject({ status: 400, param: "input[0].id" });
    }
  });

  it("leaves out the beginning of what is longer than the context, where that is asked for", async () => {
    const { model, client } = await start({ maxModelLen: 64 });
    const response = await client.responses.create({ ...request, truncation: "auto", max_output_tokens: 10 });
    expect(response.truncation).toBe("auto");
    expect((await client.responses.create(request)).truncation).toBe("disabled");
    expect(model.calls.map(({ params }) => params.truncatePrompt)).toEqual([54, undefined]);
  });

  it("works with the client's stream helper and with a parsed format", async () => {
    const { client } = await start();
    const stream = client.responses.stream(request);
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => {
      text += delta;
    });
    expect((await stream.finalResponse()).output_text).toBe(text);
    const schema = { type: "object", properties: { name: { type: "string" } } };
    const format = { type: "json_schema" as const, name: "x", schema };
    const parsed = await client.responses.parse({ ...request, text: { format } });
    expect(parsed.output_parsed).toEqual({ name: "river" });
    expect(parsed.text?.format).toEqual(format);
  });

  it("raises an error in mid-stream, and gets one before it with its status", async () => {
    const { client } = await start({ failure: { afterTokens: 2, error: new EngineError("ERR_NON_FINITE", "at /x") } });
    let events = 0;
    const read = async () => {
      for await (const _ of await client.responses.create({ ...request, stream: true })) events++;
    };
    expect(await failure(read())).toMatchObject({ code: "non_finite" });
    expect(events).toBeGreaterThan(4);
    const body = await (await client.responses.create({ ...request, stream: true }).asResponse()).text();
    const [last, name] = body.trimEnd().split("\n").reverse();
    expect(name).toBe("event: error");
    expect(JSON.parse(last!.replace("data: ", ""))).toMatchObject({ type: "error", sequence_number: events });
    const early = await start({ failure: { afterTokens: 0, error: new EngineError("ERR_NON_FINITE", "at /x") } });
    expect(await failure(early.client.responses.create({ ...request, stream: true }))).toMatchObject({ status: 500 });
  });

  it("aborts", async () => {
    const { model, client } = await start({ delayMs: 5, naturalLength: 4000 });
    const stream = await client.responses.create({ ...request, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
    await until(() => model.running === 0);
    expect(model.aborted).toBe(1);
  });
});

describe("refused", () => {
  const app = buildApp(new FakeLanguageModel());
  afterAll(() => app.close());
  const post = (change: object) =>
    app.inject({ method: "POST", url: "/v1/responses", payload: { ...request, ...change } });

  it.each<[object, string, string | null]>([
    [{ input: undefined }, "input", null],
    [{ input: [] }, "input", null],
    [{ input: [5] }, "input[0]", null],
    [{ input: [{ type: "function_call_output", call_id: 1, output: "x" }] }, "input[0].call_id", null],
    [{ input: [{ type: "function_call", call_id: "1", name: "f", arguments: "{" }] }, "input[0].arguments", null],
    [{ input: [{ type: "item_reference", id: "msg_1" }] }, "input[0].id", null],
    [{ input: [{ type: "item_reference" }] }, "input[0].id", null],
    [{ input: [{ type: "computer_call" }] }, "input[0].type", null],
    [{ input: [{ role: "wizard", content: "x" }] }, "input[0].role", null],
    [{ input: [{ role: "tool", content: "x" }] }, "input[0].role", null],
    [{ input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] }, "input[0].content[0]", null],
    [{ max_output_tokens: 0 }, "max_output_tokens", null],
    [{ temperature: 3 }, "temperature", null],
    [{ top_p: 0 }, "top_p", null],
    [{ text: { format: { type: "x" } } }, "text.format.type", null],
    [{ text: { format: { type: "json_schema" } } }, "text.format.schema", null],
    [{ instructions: 5 }, "instructions", null],
    [{ metadata: { a: 1 } }, "metadata.a", null],
    [{ previous_response_id: "resp_1" }, "previous_response_id", "unsupported_parameter"],
    [{ store: true }, "store", "unsupported_parameter"],
    [{ background: true }, "background", "unsupported_parameter"],
    [{ conversation: "c" }, "conversation", "unsupported_parameter"],
    [{ tools: [{ type: "fuction", name: "x" }] }, "tools[0].type", null],
    [{ tools: [{ type: "custom", name: "x" }], tool_choice: "required" }, "tool_choice", null],
    [{ tool_choice: { type: "web_search" } }, "tool_choice", null],
    [{ tools: [{ type: "function", name: "a b" }] }, "tools[0].name", null],
    [{ tools: [{ type: "function", name: "f", parameters: 5 }] }, "tools[0].parameters", null],
    [{ tools: [{ type: "function", name: "f" }] }, "tools", "unsupported_parameter"],
    [{ tool_choice: "required" }, "tool_choice", null],
    [{ reasoning: { effort: 5 } }, "reasoning.effort", null],
    [{ include: ["message.output_text.secrets"] }, "include[0]", null],
    [{ top_logprobs: 21 }, "top_logprobs", null],
    [{ truncation: "middle" }, "truncation", null],
    [{ guided_json: {} }, "guided_json", "unsupported_parameter"],
  ])("%j", async (change, param, code) => {
    const response = await post(change);
    expect(response.statusCode).toBe(400);
    expect(response.json().error).toMatchObject({ type: "invalid_request_error", param, code });
    const neutral = {
      store: false,
      previous_response_id: null,
      tools: [],
      include: [],
      truncation: "disabled",
      user: "x",
    };
    expect((await post(neutral)).statusCode).toBe(200);
  });

  it("another model", async () => {
    expect((await post({ model: "other" })).statusCode).toBe(404);
  });
});
