import assert from "node:assert/strict";
import { test } from "node:test";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI, OpenAI } from "@langchain/openai";
import { apiKey, calls, model, parameters, schema, words } from "./servers.mjs";

const fields = (url) => ({
  model,
  apiKey,
  temperature: 0,
  maxRetries: 0,
  configuration: { baseURL: `${url}/v1` },
});

for (const useResponsesApi of [false, true]) {
  const name = useResponsesApi ? "responses" : "chat completions";
  const chat = new ChatOpenAI({ ...fields(words), useResponsesApi });
  const messages = [new HumanMessage("the river")];

  test(`${name}: whole, streamed and structured`, async () => {
    const whole = await chat.invoke(messages);
    assert.ok(whole.text.length > 10);
    let text = "";
    for await (const chunk of await chat.stream(messages)) text += chunk.text;
    assert.equal(text, whole.text);
    const animal = await chat
      .withStructuredOutput({ title: "Animal", ...schema }, { method: "jsonSchema" })
      .invoke("x");
    assert.deepEqual(animal, { name: "river", size: 3 });
  });

  test(`${name}: calls a tool and takes its result`, async () => {
    const calling = new ChatOpenAI({ ...fields(calls), useResponsesApi });
    const weather = { type: "function", function: { name: "weather", parameters } };
    const answer = await calling.bindTools([weather]).invoke(messages);
    assert.deepEqual(answer.tool_calls[0].args, { city: "Oslo" });
    const result = new ToolMessage({ content: "rain", tool_call_id: answer.tool_calls[0].id });
    assert.ok((await chat.bindTools([weather]).invoke([...messages, answer, result])).text.length > 10);
  });
}

test("completions", async () => {
  assert.ok((await new OpenAI({ ...fields(words), maxTokens: 5 }).invoke("the river")).length > 5);
});
