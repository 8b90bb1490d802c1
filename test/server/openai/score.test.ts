import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ maxQueue: 4 });
const app = buildApp(model);
afterAll(() => app.close());

const post = async (payload: object, url = "/v1/score") => {
  const answer = await app.inject({ method: "POST", url, payload });
  return { status: answer.statusCode, body: answer.json() };
};

it.each(["/v1/score", "/score"])("%s: one text before each of several", async (url) => {
  const { status, body } = await post({ text_1: "the river", text_2: ["stone falls", "water"] }, url);
  expect(status).toBe(200);
  expect(body).toMatchObject({
    id: expect.stringMatching(/^score-/),
    object: "list",
    model: "fake-mamba",
    data: [
      { index: 0, object: "score", score: -0.5 },
      { index: 1, object: "score", score: -0.5 },
    ],
    usage: { prompt_tokens: 7, completion_tokens: 0, total_tokens: 7, prompt_tokens_details: { cached_tokens: 0 } },
  });
  expect(model.calls.slice(-2).map(({ prompt }) => (prompt as number[]).length)).toEqual([4, 3]);
});

it("as many texts before as after", async () => {
  const { body } = await post({ text_1: ["the", "the river"], text_2: ["river stone", "stone"] });
  expect(body.data).toHaveLength(2);
  expect(model.calls.at(-1)!.prompt).toHaveLength(3);
});

it.each<[object, string | null]>([
  [{ text_1: "a" }, "text_2"],
  [{ text_2: "a" }, "text_1"],
  [{ text_1: "", text_2: "a" }, "text_1"],
  [{ text_1: "a", text_2: ["a", ""] }, "text_2[1]"],
  [{ text_1: "a", text_2: [] }, "text_2"],
  [{ text_1: "a", text_2: 5 }, "text_2"],
  [{ text_1: ["a", "b"], text_2: ["a", "b", "c"] }, "text_2"],
  [{ text_1: "a", text_2: " " }, "text_2"],
  [{ text_1: "a", text_2: Array(5).fill("a") }, "prompt"],
])("refuses %j", async (payload, param) => {
  const { status, body } = await post(payload);
  expect([status, body.error.param]).toEqual([400, param]);
});

it("another model is not found", async () => {
  expect((await post({ model: "other", text_1: "a", text_2: "b" })).status).toBe(404);
});
