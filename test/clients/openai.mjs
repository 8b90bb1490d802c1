import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { apiKey, calls, model, parameters, schema, words } from "./servers.mjs";

const client = new OpenAI({ baseURL: `${words}/v1`, apiKey, maxRetries: 0 });
const calling = new OpenAI({ baseURL: `${calls}/v1`, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "the river" }];

test("completions, whole and streamed", async () => {
  const asked = { model, prompt: "the river", max_tokens: 6, temperature: 0 };
  const { choices } = await client.completions.create(asked);
  let text = "";
  for await (const { choices } of await client.completions.create({ ...asked, stream: true })) text += choices[0].text;
  assert.equal(text, choices[0].text);
});

test("chat completions: the stream helper, parsed answers and tools", async () => {
  const stream = client.chat.completions.stream({ model, messages, temperature: 0 });
  let text = "";
  stream.on("content", (delta) => {
    text += delta;
  });
  assert.equal((await stream.finalMessage()).content, text);
  const format = { type: "json_schema", json_schema: { name: "animal", schema } };
  const { choices } = await client.chat.completions.create({ model, messages, response_format: format });
  assert.deepEqual(JSON.parse(choices[0].message.content), { name: "river", size: 3 });
  const asked = [];
  const weather = (given) => asked.push(given.city) && "rain";
  const tool = { type: "function", function: { name: "weather", parameters, parse: JSON.parse, function: weather } };
  const limits = { maxChatCompletions: 2 };
  await calling.chat.completions
    .runTools({ model, messages, tools: [tool] }, limits)
    .done()
    .catch(() => {});
  assert.deepEqual(asked, ["Oslo", "Oslo"]);
});

test("responses: whole, streamed, parsed and with tools", async () => {
  const asked = { model, input: "the river", temperature: 0 };
  const { output_text } = await client.responses.create(asked);
  assert.equal((await client.responses.stream(asked).finalResponse()).output_text, output_text);
  const format = { type: "json_schema", name: "animal", schema, strict: true };
  const { output_parsed } = await client.responses.parse({ ...asked, text: { format } });
  assert.deepEqual(output_parsed, { name: "river", size: 3 });
  const tools = [{ type: "function", name: "weather", parameters, strict: true }];
  const { output } = await calling.responses.create({ ...asked, tools });
  const call = output.find(({ type }) => type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), { city: "Oslo" });
  const result = { type: "function_call_output", call_id: call.call_id, output: "rain" };
  const next = await client.responses.create({ ...asked, tools, input: [...output, result] });
  assert.equal(next.status, "completed");
});

test("models and errors", async () => {
  assert.equal((await client.models.retrieve(model)).id, model);
  await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), OpenAI.BadRequestError);
  await assert.rejects(client.embeddings.create({ model, input: "a" }), { status: 501 });
});
