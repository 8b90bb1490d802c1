import { checkMessages, checkPrompt } from "../../src/llm/param-rules";
import { resolveParams } from "../../src/llm/sampling-params";
import type { GenerateParams } from "../../src/llm/types";

const refusal = (params: object) => {
  try {
    resolveParams(params as GenerateParams, {});
  } catch (error) {
    return error;
  }
  return undefined;
};

test.each([
  [{ temprature: 1 }, "temprature", /there is no parameter temprature; the parameters are temperature, /],
  [{ max_tokens: 5 }, "max_tokens", /there is no parameter max_tokens/],
  [{ chat: { tool: [] } }, "chat.tool", /there is no parameter chat.tool/],
  [{ temperature: "0.5" }, "temperature", 'temperature must be a number from 0 to 100, got "0.5"'],
  [{ temperature: Number.NaN }, "temperature", /got NaN/],
  [{ topP: true }, "topP", /a number above 0/],
  [{ topP: 0 }, "topP", /a number above 0/],
  [{ maxTokens: "5" }, "maxTokens", /a whole number/],
  [{ maxTokens: 0 }, "maxTokens", /or 0 with promptLogprobs/],
  [{ maxTokens: null }, "maxTokens", /got null/],
  [{ minTokens: 5, maxTokens: 4 }, "minTokens", /at most maxTokens, which is 4/],
  [{ seed: 1.5 }, "seed", /a whole number/],
  [{ seed: "1" }, "seed", /a whole number/],
  [{ stop: [""] }, "stop", /non-empty/],
  [{ stop: Array(17).fill("x") }, "stop", /at most 16/],
  [{ stop: 5 }, "stop", /non-empty/],
  [{ stopTokenIds: 5 }, "stopTokenIds", /a list of token ids/],
  [{ stopTokenIds: ["1"] }, "stopTokenIds", /a list of token ids/],
  [{ ignoreEos: 1 }, "ignoreEos", "ignoreEos must be true or false, got 1"],
  [{ includeStop: "yes" }, "includeStop", /true or false/],
  [{ logitBias: [1] }, "logitBias", /by token ids/],
  [{ logitBias: { x: 1 } }, "logitBias", /by token ids/],
  [{ logitBias: { 1: 101 } }, "logitBias", /-100 to 100/],
  [{ allowedTokenIds: [] }, "allowedTokenIds", /not empty/],
  [{ badWords: [""] }, "badWords", /non-empty strings/],
  [{ badWords: Array(129).fill("x") }, "badWords", /at most 128/],
  [{ logprobs: 21 }, "logprobs", /from 0 to 20/],
  [{ constraint: "json" }, "constraint", /an object/],
  [{ constraint: {} }, "constraint", /kind/],
  [{ signal: {} }, "signal", /an AbortSignal/],
  [{ truncatePrompt: 0 }, "truncatePrompt", /at least 1/],
  [{ chat: "x" }, "chat", /an object/],
  [{ chat: { templateArguments: { x: {} } } }, "chat.templateArguments", /an object of/],
])("%j is refused", (params, subject, message) => {
  expect(refusal(params)).toMatchObject({ code: "ERR_REQUEST", subject, message: expect.stringMatching(message) });
});

test("what is undefined counts as left out, and a seed has 64 bits", () => {
  expect(refusal({ temperature: undefined, chat: undefined, stop: undefined })).toBeUndefined();
  expect(resolveParams({ seed: 2n ** 63n - 1n }, {}).sampling.seed).toBe(9223372036854775807n);
  expect(resolveParams({ seed: -1 }, {}).sampling.seed).toBe(2n ** 64n - 1n);
  expect(resolveParams({}, { temperature: 0.5, topK: 7 }).sampling).toMatchObject({
    temperature: 0.5,
    topK: 7,
    topP: 1,
  });
});

test.each([undefined, null, 5, {}])("a prompt is no %j", (prompt) => {
  const got = prompt === undefined || prompt === null ? String(prompt) : prompt === 5 ? "5" : "an object";
  const message = `prompt must be a text, a list of token ids or a list of messages, got ${got}`;
  expect(() => checkPrompt(prompt)).toThrow(message);
});

test.each([
  [null, "messages[1] must be an object with a role and a content, got null"],
  [{ content: "x" }, "messages[1].role must be a string, got undefined"],
  [{ role: "user", content: null }, "messages[1].content must be a string, got null"],
  [{ role: "user", content: [{ type: "text", text: "x" }] }, "messages[1].content must be a string, got a list"],
])("a message is not %j", (message, expected) => {
  const messages = [{ role: "user", content: "" }, message];
  expect(() => checkMessages(messages)).toThrow(expected);
  expect(() => checkMessages(messages.slice(0, 1))).not.toThrow();
});
