import assert from "node:assert/strict";
import { test } from "node:test";
import { Agent, OpenAIProvider, Runner, setTracingDisabled, tool } from "@openai/agents";
import { apiKey, calls, model, parameters, words } from "./servers.mjs";

setTracingDisabled(true);

for (const useResponses of [false, true]) {
  const name = useResponses ? "responses" : "chat completions";
  const runnerOf = (url) =>
    new Runner({ modelProvider: new OpenAIProvider({ baseURL: `${url}/v1`, apiKey, useResponses }), model });

  test(`${name}: an agent answers, whole and streamed`, async () => {
    const agent = new Agent({ name: "Teller", instructions: "Be brief." });
    const { finalOutput } = await runnerOf(words).run(agent, "the river");
    assert.ok(finalOutput.length > 10);
    const stream = await runnerOf(words).run(agent, "the river", { stream: true });
    let text = "";
    for await (const part of stream.toTextStream()) text += part;
    await stream.completed;
    assert.equal(text, stream.finalOutput);
  });

  test(`${name}: an agent calls its tool`, async () => {
    const asked = [];
    const weather = tool({
      name: "weather",
      description: "Tells the weather.",
      parameters,
      strict: true,
      execute: async ({ city }) => asked.push(city) && "rain",
    });
    const agent = new Agent({ name: "Forecaster", instructions: "Be brief.", tools: [weather] });
    // The model calls it in every turn, so the agent runs out of turns.
    await assert.rejects(runnerOf(calls).run(agent, "the weather in Oslo?", { maxTurns: 2 }), /turns/);
    assert.deepEqual(asked, ["Oslo", "Oslo"]);
  });
}
