import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, jsonSchema, Output, streamText, tool } from "ai";
import { apiKey, calls, model, parameters, schema, words } from "./servers.mjs";

const providers = {
  "openai, responses": (url) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses(model),
  "openai, chat": (url) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat(model),
  "openai-compatible": (url) =>
    createOpenAICompatible({
      name: "mamba-serve",
      baseURL: `${url}/v1`,
      apiKey,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(model),
  anthropic: (url) => createAnthropic({ baseURL: `${url}/v1`, apiKey })(model),
};

for (const [name, connect] of Object.entries(providers)) {
  const settings = { model: connect(words), prompt: "the river", temperature: 0, maxRetries: 0 };

  test(`${name}: generates and streams the same text`, async () => {
    const { text, usage } = await generateText(settings);
    assert.ok(text.length > 10);
    assert.equal(usage.outputTokens, 12);
    let streamed = "";
    for await (const part of streamText(settings).textStream) streamed += part;
    assert.equal(streamed, text);
  });

  test(`${name}: an object that a schema describes`, async () => {
    const { output } = await generateText({ ...settings, output: Output.object({ schema: jsonSchema(schema) }) });
    assert.deepEqual(output, { name: "river", size: 3 });
  });

  test(`${name}: calls a tool and sends its result back`, async () => {
    const asked = [];
    const weather = tool({
      inputSchema: jsonSchema(parameters),
      execute: async ({ city }) => asked.push(city) && "rain",
    });
    const limit = { tools: { weather }, stopWhen: isStepCount(2) };
    const { steps } = await generateText({ ...settings, model: connect(calls), ...limit });
    assert.deepEqual(asked, ["Oslo", "Oslo"]);
    assert.equal(steps[0].finishReason, "tool-calls");
  });
}
