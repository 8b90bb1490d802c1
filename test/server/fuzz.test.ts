import "../helpers/allow-inject";
import fc from "fast-check";
import { buildApp } from "../../src/server/app";
import { FakeLanguageModel } from "../helpers/fake-language-model";

const runs = Number(process.env.FUZZ_RUNS ?? 150);
const app = buildApp(new FakeLanguageModel({ chatTemplate: "{% if tools %}<tool_call>{% endif %}" }));
afterAll(() => app.close());

interface Schema {
  readonly properties?: Readonly<Record<string, unknown>>;
}

/** Names of a route's fields, from its own description. */
async function fieldsOf(url: string): Promise<string[]> {
  const { paths } = (await app.inject("/openapi.json")).json();
  const schema: Schema = paths[url].post.requestBody.content["application/json"].schema;
  return Object.keys(schema.properties ?? {});
}

/** Values that fields have, and values that none has. */
const likely = fc.constantFrom<unknown>(
  "the river",
  ["a", "b"],
  [1, 2],
  [[1], [2, 3]],
  [{ role: "user", content: "x" }],
  [{ role: "assistant", content: null, tool_calls: [{ id: "1", function: { name: "f", arguments: "{}" } }] }],
  [{ type: "function", function: { name: "f", parameters: { type: "object" } } }],
  { type: "json_object" },
  { type: "json_schema", json_schema: { schema: { type: "object" } } },
  { include_usage: true, continuous_usage_stats: true },
  { choice: ["a"] },
  { "3": 5 },
  "auto",
  "required",
  true,
  false,
  null,
  0,
  1,
  3,
  -1,
  1e308,
);
const value = fc.oneof({ weight: 3, arbitrary: likely }, fc.jsonValue({ maxDepth: 3 }));

it.each([
  ["/v1/completions", { prompt: "x", max_tokens: 3 }],
  ["/v1/chat/completions", { messages: [{ role: "user", content: "x" }], max_tokens: 3 }],
  ["/v1/responses", { input: "x", max_output_tokens: 3 }],
  ["/detokenize", { tokens: [1] }],
  ["/tokenize", { prompt: "x" }],
  ["/v1/score", { text_1: "x", text_2: "y" }],
])("%s: any body gets an answer or a reason", async (url, base) => {
  const fields = [...(await fieldsOf(url)), "prompt", "messages", "tools", "nonsense"];
  const change = fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 5 });
  await fc.assert(
    fc.asyncProperty(change, async (given) => {
      const payload = JSON.stringify({ ...base, ...given });
      const headers = { "content-type": "application/json" };
      const response = await app.inject({ method: "POST", url, payload, headers });
      if (response.statusCode === 200) return;
      expect([400, 404]).toContain(response.statusCode);
      const { error } = response.json();
      expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
      expect(error.type).toBe("invalid_request_error");
      expect(response.body.length).toBeLessThan(1000);
    }),
    { numRuns: runs },
  );
  expect((await app.inject({ method: "POST", url, payload: base })).statusCode).toBe(200);
});
