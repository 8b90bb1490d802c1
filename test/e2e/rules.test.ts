/** What the engine does for single requests, through HTTP and the engine's own process: forms, biases, scores of prompts. */
import Ajv from "ajv";
import OpenAI from "openai";
import { LLM } from "../../src/llm/llm";
import { type RunningServer, serve } from "../../src/server/serve";
import { engineInChild } from "../helpers/engine-in-child";

let llm: LLM;
let reference: LLM;
let server: RunningServer;
let client: OpenAI;
beforeAll(async () => {
  const options = { maxNumSeqs: 8, dtype: "float32" } as const;
  llm = await LLM.load(undefined, options, engineInChild());
  reference = await LLM.load(undefined, options);
  server = await serve(llm, { port: 0 });
  await llm.ready();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await server.close();
  await reference.close();
});

const model = "storyteller-6m";
const user = (content: string) => [{ role: "user" as const, content }];

describe("echo with logprobs, as lm-evaluation-harness asks", () => {
  const text = "The king had three ships, and the first of them was";

  test.each([0, 1])("max_tokens %d: the sum is that of a forward pass over the whole", async (max_tokens) => {
    const request = { model, prompt: text, max_tokens, echo: true, logprobs: 1, temperature: 0 };
    const { choices, usage } = await client.completions.create(request);
    const { logprobs } = choices[0]!;
    const ids = await llm.tokenize(text);
    expect(logprobs!.token_logprobs).toHaveLength(ids.length + max_tokens);
    expect(logprobs!.tokens!.slice(0, ids.length).join("")).toBe(text);
    expect(choices[0]!.text.startsWith(text)).toBe(true);
    expect(usage!.completion_tokens).toBe(max_tokens);
    const [first, ...rest] = logprobs!.token_logprobs!.slice(0, ids.length);
    expect(first).toBeNull();
    const sum = rest.reduce((total, logprob) => total + logprob, 0);
    const whole = (await reference.score(ids)).reduce((total, logprob) => total + logprob, 0);
    expect(Math.abs(sum - whole)).toBeLessThan(0.02);
    // Whether the continuation is the greedy one: what is_greedy compares.
    for (const [i, top] of logprobs!.top_logprobs!.slice(1, ids.length).entries()) {
      const best = Math.max(...Object.values(top));
      expect(best).toBeGreaterThanOrEqual(logprobs!.token_logprobs![i + 1]! - 1e-4);
    }
  });
});

describe("forms of an output", () => {
  const schema = {
    type: "object",
    properties: { hero: { type: "string", maxLength: 10 }, ships: { type: "integer", minimum: 1, maximum: 99 } },
    required: ["hero", "ships"],
    additionalProperties: false,
  };
  const response_format = { type: "json_schema" as const, json_schema: { name: "tale", schema } };

  test("a JSON schema, streamed and not", async () => {
    const request = { model, messages: user("A tale."), response_format, max_tokens: 100, seed: 3 };
    const { choices } = await client.chat.completions.create(request);
    expect(choices[0]!.finish_reason).toBe("stop");
    expect(new Ajv().validate(schema, JSON.parse(choices[0]!.message.content!))).toBe(true);
    let streamed = "";
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
      streamed += choices[0]?.delta.content ?? "";
    }
    expect(streamed).toBe(choices[0]!.message.content);
  });

  test("a tool that has to be called, with arguments of its schema", async () => {
    const { choices } = await client.chat.completions.create({
      model,
      messages: user("Sail."),
      tools: [{ type: "function", function: { name: "sail", parameters: schema } }],
      tool_choice: { type: "function", function: { name: "sail" } },
      max_tokens: 120,
      seed: 4,
    });
    const [call] = choices[0]!.message.tool_calls!;
    expect(call).toMatchObject({ type: "function", function: { name: "sail" } });
    expect(
      new Ajv().validate(schema, JSON.parse((call as { function: { arguments: string } }).function.arguments)),
    ).toBe(true);
  });

  test.each([
    [{ type: "array", contains: { type: "null" }, maxContains: 1 }, /maxContains/],
    [JSON.parse(`${'{"anyOf":['.repeat(80)}{}${"]}".repeat(80)}`), /nested|depth|levels/],
  ])("a hostile schema is refused, and the next request works", async (hostile, message) => {
    const json_schema = { name: "x", schema: hostile };
    const refused = client.chat.completions.create({
      model,
      messages: user("x"),
      response_format: { type: "json_schema", json_schema },
    });
    await expect(refused).rejects.toMatchObject({
      status: 400,
      param: "response_format",
      message: expect.stringMatching(message),
    });
    expect((await client.completions.create({ model, prompt: "x", max_tokens: 2 })).usage!.completion_tokens).toBe(2);
  });
});

test("logit_bias bans and forces tokens", async () => {
  const [id] = await llm.tokenize(" ship");
  const request = { model, prompt: "There was a", max_tokens: 4, temperature: 0 };
  const forced = await client.completions.create({ ...request, logit_bias: { [id!]: 100 } });
  expect(forced.choices[0]!.text).toBe(llm.detokenize([id!, id!, id!, id!]));
  const plain = await client.completions.create({ ...request, logprobs: 0 });
  const [first] = await llm.tokenize(plain.choices[0]!.text);
  const banned = await client.completions.create({ ...request, logit_bias: { [first!]: -100 } });
  expect(banned.choices[0]!.text).not.toBe(plain.choices[0]!.text);
});
