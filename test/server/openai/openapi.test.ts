import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const app = buildApp(new FakeLanguageModel());
afterAll(() => app.close());

interface Operation {
  readonly summary?: string;
  readonly requestBody?: { content: Record<string, { schema: { properties?: Record<string, unknown> } }> };
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
