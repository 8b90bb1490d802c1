import "../../helpers/allow-inject";
import Ajv from "ajv/dist/2020";
import { buildApp } from "../../../src/server/app";
import { fieldMeanings } from "../../../src/server/field-meanings";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const app = buildApp(new FakeLanguageModel());
afterAll(() => app.close());

interface Operation {
  readonly summary?: string;
  readonly requestBody?: { content: Record<string, { schema: { properties?: Record<string, unknown> } }> };
}

interface Described {
  readonly responses: Readonly<Record<string, { content: Record<string, { schema: object } | undefined> }>>;
}

async function describe_(): Promise<{ openapi: string; paths: Record<string, Record<string, Operation>> }> {
  const response = await app.inject("/openapi.json");
  expect(response.statusCode).toBe(200);
  return response.json();
}

it("describes every route, and nothing else", async () => {
  const { openapi, paths } = await describe_();
  expect(openapi).toBe("3.1.0");
  const { endpoints } = (await app.inject("/")).json() as { endpoints: string[] };
  const described = Object.entries(paths).flatMap(([url, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${url.replace(/\{.*\}/, "*")}`),
  );
  expect(described.filter((line) => !line.startsWith("HEAD ")).sort()).toEqual([...endpoints].sort());
  for (const [url, operations] of Object.entries(paths)) {
    for (const { summary } of Object.values(operations)) expect(`${url}: ${summary}`).not.toContain("undefined");
  }
});

it.each([
  ["/v1/completions", ["prompt", "max_tokens", "echo", "logit_bias", "stop", "stream_options"]],
  ["/v1/chat/completions", ["messages", "tools", "tool_choice", "response_format", "top_logprobs"]],
  ["/v1/responses", ["input", "instructions", "max_output_tokens", "stream"]],
  ["/detokenize", ["tokens"]],
])("describes the body of %s", async (url, fields) => {
  const { paths } = await describe_();
  const { properties = {} } = paths[url]!.post!.requestBody!.content["application/json"]!.schema;
  for (const field of fields) expect(JSON.stringify(properties[field] ?? {}).length).toBeGreaterThan(15);
});

it("says what every field of a request does, by a table without rows that nothing uses", async () => {
  const { paths } = await describe_();
  const fields = Object.values(paths).flatMap(({ post }) =>
    Object.entries(post?.requestBody?.content["application/json"]?.schema.properties ?? {}),
  ) as [string, { description?: string }][];
  expect(fields.filter(([, { description }]) => description === undefined).map(([name]) => name)).toEqual([]);
  const used = new Set(fields.map(([name, { description }]) => `${name}: ${description}`));
  expect(Object.entries(fieldMeanings).filter(([name, meaning]) => !used.has(`${name}: ${meaning}`))).toEqual([]);
});

describe("answers are as they are described", () => {
  const calling = buildApp(new FakeLanguageModel({ chatTemplate: "tools <tool_call>" }), { toolFormat: "hermes" });
  afterAll(() => calling.close());
  const messages = [{ role: "user", content: "the river" }];
  const parameters = { type: "object", properties: { a: { type: "integer" } } };
  const tools = [{ type: "function", function: { name: "f", parameters } }];
  const anthropicTools = [{ name: "f", input_schema: parameters }];
  const bodies: Readonly<Record<string, readonly object[]>> = {
    "POST /v1/completions": [
      { prompt: "the river", max_tokens: 3, prompt_logprobs: 2, return_token_ids: true },
      { prompt: ["a", "b"], n: 2, logprobs: 2, echo: true },
      { prompt: "a", logprobs: 0 },
    ],
    "POST /v1/chat/completions": [
      { messages, logprobs: true, top_logprobs: 2, n: 2, prompt_logprobs: 1, return_token_ids: true },
      { messages, tools, tool_choice: "required" },
    ],
    "POST /v1/responses": [
      { input: "the river", max_output_tokens: 2, top_logprobs: 2 },
      { input: "a", tools: [{ type: "function", name: "f", parameters }], tool_choice: "required" },
    ],
    "POST /v1/messages": [
      { messages, max_tokens: 3 },
      { messages, max_tokens: 300, tools: anthropicTools, tool_choice: { type: "any" } },
    ],
    "POST /v1/messages/count_tokens": [{ messages }],
    "POST /v1/score": [{ text_1: "the", text_2: ["river", "stone"] }],
    "POST /score": [{ text_1: "the", text_2: "river" }],
    "POST /tokenize": [{ prompt: "the river", return_token_strs: true }, { messages }],
    "POST /detokenize": [{ tokens: [1, 2] }],
  };

  const ajv = new Ajv({ strict: false, logger: false });
  const described = async () =>
    Object.entries<Record<string, Described>>((await calling.inject("/openapi.json")).json().paths);

  function check(name: string, of: Described["responses"][string], text: string): void {
    const schema = of.content["application/json"]?.schema;
    if (schema === undefined) return;
    const validate = ajv.compile(schema);
    expect([name, validate(JSON.parse(text)) || validate.errors]).toEqual([name, true]);
  }

  it("on every route, and where it fails", async () => {
    for (const [path, operations] of await described()) {
      for (const [method, { responses }] of Object.entries(operations)) {
        if (method === "head") continue;
        const url = path.replace("{*}", path.startsWith("/ui") ? "api.js" : "fake-mamba");
        const name = `${method.toUpperCase()} ${path.replace("{*}", "*")}`;
        // A route that was forgotten is described as anything.
        expect([name, JSON.stringify(responses["200"])]).not.toEqual([name, expect.stringContaining('"schema":{}')]);
        for (const payload of bodies[name] ?? (method === "get" ? [undefined] : [])) {
          const answer = await calling.inject({ method: method as "get", url, ...(payload && { payload }) });
          expect([name, answer.statusCode]).toEqual([name, 200]);
          check(name, responses["200"]!, answer.body);
        }
        if (method !== "post") continue;
        expect(bodies).toHaveProperty([name]);
        const wrong = await calling.inject({ method: "POST", url, payload: { stop: 5, tokens: 1 } });
        check(name, responses.default!, wrong.body);
      }
    }
  });

  it("of a model that thinks", async () => {
    const thinking = buildApp(new FakeLanguageModel({ chatTemplate: "</think>", script: "<think>hm</think>ok" }));
    for (const [url, { post }] of await described()) {
      if (!["/v1/chat/completions", "/v1/responses", "/v1/messages"].includes(url)) continue;
      const payload = { messages, input: "the river", max_tokens: 50 };
      const { body } = await thinking.inject({ method: "POST", url, payload });
      expect(body).toContain("hm");
      check(url, post!.responses["200"]!, body);
    }
    await thinking.close();
  });
});
