import { speculativeOption } from "../../src/cli/speculative-flag";

const parse = (text: string) => speculativeOption().parseArg!(text, undefined);

test.each([
  ['{"method":"ngram"}', { method: "ngram", numSpeculativeTokens: 4, promptLookupMin: 2, promptLookupMax: 8 }],
  ['{"method":"mtp","num_speculative_tokens":2}', { method: "mtp", numSpeculativeTokens: 2 }],
  ['{"method":"draft_model","model":"dir"}', { method: "draft_model", model: "dir", numSpeculativeTokens: 4 }],
  ['{"model":"dir","num_speculative_tokens":5}', { method: "draft_model", model: "dir", numSpeculativeTokens: 5 }],
])("%s", (text, expected) => {
  expect(parse(text)).toEqual(expected);
});

test.each([
  ["ngram", "It is not JSON"],
  ["[]", "It has to be a JSON object."],
  ['{"method":"mtp","tokens":2}', "tokens is not known; there are method, num_speculative_tokens"],
  ['{"num_speculative_tokens":2}', "speculativeConfig.method must be ngram, mtp, draft_model, got undefined"],
  ['{"method":"mtp","num_speculative_tokens":9}', "speculativeConfig.numSpeculativeTokens must be at most 7, got 9"],
])("%s is refused", (text, message) => {
  expect(() => parse(text)).toThrow(message);
});
