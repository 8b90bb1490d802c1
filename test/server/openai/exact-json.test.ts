/** Numbers and the order of keys reach the model as the client wrote them. */
import "../../helpers/allow-inject";
import { stringifyJson } from "../../../src/json/stringify";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ chatTemplate: "{{ tools }} <tool_call>" });
const app = buildApp(model);
afterAll(() => app.close());

/** What the model is given for a body that is sent as it is. */
async function given(url: string, body: string) {
  const headers = { "content-type": "application/json" };
  const response = await app.inject({ method: "POST", url, payload: body, headers });
  expect({ status: response.statusCode, body: response.body }).toMatchObject({ status: 200 });
  return { ...model.calls.at(-1)!, body: response.body };
}

const messages = '"messages":[{"role":"user","content":"the river"}]';
const parameters =
  '{"type":"object","properties":{"b":{"const":9007199254740993},"10":{"enum":[1.0,1e2,-0]},"2":{"maximum":0.10}}}';
const tools = `[{"type":"function","function":{"name":"f","parameters":${parameters},"weight":1.0}}]`;

it("tools", async () => {
  const { params } = await given("/v1/chat/completions", `{${messages},"tools":${tools}}`);
  expect(stringifyJson(params.chat?.tools)).toBe(tools);
});

it.each([
  ['"required"', `{"arguments":${parameters}}`],
  ['{"type":"function","function":{"name":"f"}}', parameters],
])("the schema that tool_choice %s holds calls to", async (choice, schema) => {
  const { params } = await given("/v1/chat/completions", `{${messages},"tools":${tools},"tool_choice":${choice}}`);
  expect(stringifyJson(params.constraint)).toContain(schema.slice(1, -1));
});

it("arguments of calls", async () => {
  const text = '{"b":1.0,"10":12345678901234567890,"2":[1e2]}';
  const call = `{"id":"1","type":"function","function":{"name":"f","arguments":${JSON.stringify(text)}}}`;
  const history = `{"role":"assistant","tool_calls":[${call}]},{"role":"tool","tool_call_id":"1","content":"x"}`;
  const { prompt } = await given("/v1/chat/completions", `{"messages":[${history}]}`);
  expect(stringifyJson(prompt)).toContain(`"arguments":${text}`);
});

it("arguments of the template", async () => {
  const { params } = await given("/v1/chat/completions", `{${messages},"chat_template_kwargs":{"b":1.0,"a":1e2}}`);
  expect(stringifyJson(params.chat?.templateArguments)).toBe('{"b":1.0,"a":1e2}');
});

it.each([
  ["response_format", `{"type":"json_schema","json_schema":{"name":"x","schema":${parameters}}}`],
  ["structured_outputs", `{"json":${parameters}}`],
  ["structured_outputs", `{"json":${JSON.stringify(parameters)}}`],
])("the schema of %s", async (field, value) => {
  for (const body of [`{${messages},"${field}":${value}}`, `{"prompt":"the river","${field}":${value}}`]) {
    const url = body.includes("prompt") ? "/v1/completions" : "/v1/chat/completions";
    const { params } = await given(url, body);
    expect(stringifyJson(params.constraint)).toBe(`{"kind":"json_schema","schema":${parameters}}`);
  }
});

it.each([false, true])("the format of a response, also in its answer; streamed: %s", async (stream) => {
  const format = `{"type":"json_schema","name":"x","schema":${parameters}}`;
  const { params, body } = await given("/v1/responses", `{"input":"x","stream":${stream},"text":{"format":${format}}}`);
  expect(stringifyJson(params.constraint)).toBe(`{"kind":"json_schema","schema":${parameters}}`);
  expect(body).toContain(format);
});

it.each([
  ["9223372036854775807", 9223372036854775807n],
  ["-9223372036854775808", -9223372036854775808n],
  ["9007199254740993", 9007199254740993n],
  ["7.0", 7n],
  ["1e3", 1000n],
])("the seed %s", async (text, seed) => {
  const { params } = await given("/v1/completions", `{"prompt":"the river","seed":${text}}`);
  expect(params.seed).toBe(seed);
});

describe.each(["/v1/completions", "/v1/chat/completions", "/v1/responses"])("a number in %s", (url) => {
  const base = { "/v1/completions": '"prompt":"x"', "/v1/chat/completions": messages, "/v1/responses": '"input":"x"' };

  it("may be written as 1.0 or 1e0, as Python's clients write floats", async () => {
    const { paths } = (await app.inject("/openapi.json")).json();
    const { properties } = paths[url].post.requestBody.content["application/json"].schema;
    const typesOf = (schema: { type?: unknown; anyOf?: { type?: unknown }[] }) =>
      [schema, ...(schema.anyOf ?? [])].flatMap(({ type }) => type);
    const isNumber = (name: string) =>
      typesOf(properties[name]).some((type) => type === "number" || type === "integer") || name === "logit_bias";
    const fields = Object.keys(properties).filter(isNumber);
    expect(fields).toContain(url === "/v1/responses" ? "max_output_tokens" : "temperature");
    const beside: Record<string, string> = { logit_bias: '{"1":1.0,"0":1e0}', top_logprobs: '1.0,"logprobs":true' };
    for (const field of fields) {
      if (field === "logprobs" && url !== "/v1/completions") continue;
      for (const number of ["1.0", "1e0"]) {
        await given(url, `{${base[url as keyof typeof base]},"${field}":${beside[field] ?? number}}`);
      }
    }
  });
});

it("token ids may be written as 1.0", async () => {
  expect((await given("/v1/completions", '{"prompt":[1.0,2]}')).prompt).toEqual([1, 2]);
  expect((await given("/v1/completions", '{"prompt":[[1,2.0]],"stop_token_ids":[3.0]}')).params.stopTokenIds).toEqual([
    3,
  ]);
});
