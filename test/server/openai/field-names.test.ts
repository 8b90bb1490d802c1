/** Errors of the engine name the field that the client wrote. */
import "../../helpers/allow-inject";
import { EngineError } from "../../../src/errors";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const apps: ReturnType<typeof buildApp>[] = [];
afterAll(() => Promise.all(apps.map((app) => app.close())));

async function refusal(error: EngineError, url: string, body: object) {
  const app = buildApp(new FakeLanguageModel({ failure: { afterTokens: 0, error } }));
  apps.push(app);
  const base =
    url === "/v1/chat/completions"
      ? { messages: [{ role: "user", content: "x" }] }
      : url === "/v1/responses"
        ? { input: "x" }
        : { prompt: "x" };
  const response = await app.inject({ method: "POST", url, payload: { ...base, ...body } });
  const { param, message } = response.json().error;
  return { status: response.statusCode, param, message };
}

const bad = (at: string) =>
  new EngineError("ERR_REQUEST", `json_schema, at ${at}: the keyword "not" is not supported`, {
    subject: "constraint",
  });
const chat = "/v1/chat/completions";
const parameters = { type: "object", properties: { a: { not: {} } } };
const tools = ["f", "g"].map((name) => ({ type: "function", function: { name, parameters } }));
/** Places count tools that are left out, too. */
const flatTools = [
  { type: "function", name: "f", parameters },
  { type: "web_search" },
  { type: "function", name: "g", parameters },
];
const format = { type: "json_schema", json_schema: { name: "x", schema: parameters } };

it.each<[string, object, string, string, string]>([
  [chat, { response_format: format }, "#/properties/a", "response_format", "#/properties/a"],
  ["/v1/completions", { structured_outputs: { json: parameters } }, "#", "structured_outputs.json", "#"],
  ["/v1/completions", { structured_outputs: { choice: ["a"] } }, "#", "structured_outputs.choice", "#"],
  ["/v1/completions", { regex: "a" }, "#", "regex", "#"],
  [chat, { json_schema: parameters }, "#", "json_schema", "#"],
  ["/v1/responses", { text: { format: { type: "json_schema", name: "x", schema: {} } } }, "#", "text.format", "#"],
  [
    chat,
    { tools, tool_choice: { type: "function", function: { name: "g" } } },
    "#/properties/a",
    "tools[1].function.parameters",
    "#/properties/a",
  ],
  [
    chat,
    { tools, tool_choice: "required" },
    "#/items/anyOf/1/properties/arguments/properties/a",
    "tools[1].function.parameters",
    "#/properties/a",
  ],
  [
    "/v1/responses",
    { tools: flatTools, tool_choice: { type: "function", name: "g" } },
    "#/properties/a",
    "tools[2].parameters",
    "#/properties/a",
  ],
  [
    "/v1/responses",
    { tools: flatTools, tool_choice: "required" },
    "#/items/anyOf/1/properties/arguments/properties/a",
    "tools[2].parameters",
    "#/properties/a",
  ],
])("%s %j", async (url, body, at, param, shownAt) => {
  expect(await refusal(bad(at), url, body)).toEqual({
    status: 400,
    param,
    message: `json_schema, at ${shownAt}: the keyword "not" is not supported`,
  });
});

it.each([
  [chat, { max_tokens: 5 }, "max_tokens", "messages"],
  [chat, { max_completion_tokens: 5 }, "max_completion_tokens", "messages"],
  ["/v1/responses", { max_output_tokens: 5 }, "max_output_tokens", "input"],
  ["/v1/completions", { max_tokens: 5 }, "max_tokens", "prompt"],
])("%s %j", async (url, body, name, param) => {
  const subject = param === "input" ? "messages" : param;
  const error = new EngineError("ERR_TOO_LONG", "the output maxTokens = 5", { subject });
  expect(await refusal(error, url, body)).toEqual({ status: 400, param, message: `the output ${name} = 5` });
});

it.each<[object, string, string]>([
  [{}, "prompt", "messages: what is wrong"],
  [{ output_format: { type: "json_schema", schema: {} } }, "constraint", "output_format: what is wrong"],
  [
    {
      tools: [
        { type: "bash_20250124", name: "bash" },
        { name: "f", input_schema: parameters },
      ],
      tool_choice: { type: "tool", name: "f" },
    },
    "constraint",
    "tools[1].input_schema: what is wrong",
  ],
])("Anthropic's clients see the field in the message: %j", async (body, subject, message) => {
  const error = new EngineError("ERR_REQUEST", "what is wrong", { subject });
  const app = buildApp(new FakeLanguageModel({ failure: { afterTokens: 0, error } }));
  apps.push(app);
  const payload = { messages: [{ role: "user", content: "x" }], max_tokens: 5, ...body };
  const response = await app.inject({ method: "POST", url: "/v1/messages", payload });
  expect([response.statusCode, response.json().error.message]).toEqual([400, message]);
});

it("more generations than can ever wait are refused with the limit, not as if the server were busy", async () => {
  const model = new FakeLanguageModel({ maxQueue: 6 });
  const app = buildApp(model);
  apps.push(app);
  const ask = async (payload: object) => {
    const response = await app.inject({
      method: "POST",
      url: "/v1/completions",
      payload: { max_tokens: 1, ...payload },
    });
    return [response.statusCode, response.json().error?.param, response.json().error?.message];
  };
  const message = expect.stringContaining("at most 6 can wait");
  expect(await ask({ prompt: "a", n: 7 })).toEqual([400, "n", message]);
  expect(await ask({ prompt: ["a", "b"], n: 4 })).toEqual([400, "n", message]);
  expect(await ask({ prompt: Array(7).fill("a") })).toEqual([400, "prompt", message]);
  expect((await ask({ prompt: ["a", "b"], n: 3 }))[0]).toBe(200);
  expect(model.calls).toHaveLength(6);
});
