import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { apiKey, calls, model, parameters, words } from "./servers.mjs";

const client = new Anthropic({ baseURL: words, apiKey, maxRetries: 0 });
const calling = new Anthropic({ baseURL: calls, apiKey, maxRetries: 0 });
const asked = { model, max_tokens: 100, temperature: 0, messages: [{ role: "user", content: "the river" }] };

test("messages, whole and streamed, and their tokens", async () => {
  const { content, usage } = await client.messages.create(asked);
  assert.equal(usage.output_tokens, 12);
  const streamed = await client.messages.stream(asked).finalMessage();
  assert.deepEqual(streamed.content, content);
  const { model, messages } = asked;
  assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 0);
});

test("tools, and their results", async () => {
  const tools = [{ name: "weather", description: "Tells the weather.", input_schema: parameters }];
  const { content, stop_reason } = await calling.messages.create({ ...asked, tools });
  assert.equal(stop_reason, "tool_use");
  const use = content.find(({ type }) => type === "tool_use");
  assert.deepEqual(use.input, { city: "Oslo" });
  const result = { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "rain" }] };
  const messages = [...asked.messages, { role: "assistant", content }, result];
  assert.equal((await client.messages.create({ ...asked, tools, messages })).stop_reason, "end_turn");
});

test("errors", async () => {
  await assert.rejects(client.messages.create({ ...asked, temperature: 9 }), Anthropic.BadRequestError);
});
