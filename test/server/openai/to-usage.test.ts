import { toUsage } from "../../../src/server/openai/to-usage";

const usage = { promptTokens: 7, completionTokens: 5, cachedTokens: 2 };

it("has OpenAI's names, and no details of guesses where there were none", () => {
  expect(toUsage(usage)).toEqual({
    ...{ prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 },
    prompt_tokens_details: { cached_tokens: 2 },
  });
});

it("tells guesses that were right from those that were not", () => {
  expect(toUsage({ ...usage, drafts: { proposed: 8, accepted: 3 } })).toMatchObject({
    completion_tokens_details: { accepted_prediction_tokens: 3, rejected_prediction_tokens: 5 },
  });
});
