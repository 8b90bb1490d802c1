import { speculativeOption } from "../../src/cli/speculative-flag";

const parse = (text: string) => speculativeOption().parseArg!(text, undefined);

test.each([
  ['{"method":"ngram"}', { method: "ngram", numSpeculativeTokens: 4, promptLookupMin: 2, promptLookupMax: 8 }],
  [
    '{"method":"suffix","suffix_decoding_max_spec_factor":2,"suffix_decoding_max_cached_requests":0}',
    { method: "suffix", numSpeculativeTokens: 4, suffixDecodingMaxSpecFactor: 2 },
  ],
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
  ['{"num_speculative_tokens":2}', "speculativeConfig.method must be ngram, suffix, mtp, draft_model, got undefined"],
  ['{"method":"suffix","suffix_decoding_max_tree_depth":24}', "ends of any length are compared; leave it out."],
  [
    '{"method":"suffix","suffix_decoding_max_cached_requests":10000}',
    "only a request's own tokens are looked up; leave it out or give 0.",
  ],
  ['{"method":"suffix","suffix_decoding_min_token_prob":0.1}', "suffix_decoding_min_token_prob is not supported"],
  ['{"method":"mtp","num_speculative_tokens":9}', "speculativeConfig.numSpeculativeTokens must be at most 7, got 9"],
])("%s is refused", (text, message) => {
  expect(() => parse(text)).toThrow(message);
});
