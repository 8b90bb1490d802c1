import { type SpeculativeOptions, speculativeConfig } from "../../../src/engine/policy/speculative-config";

test.each<[string, SpeculativeOptions, object]>([
  [
    "n-grams",
    { method: "ngram" },
    { method: "ngram", numSpeculativeTokens: 4, promptLookupMin: 2, promptLookupMax: 8 },
  ],
  ["suffixes", { method: "suffix" }, { method: "suffix", numSpeculativeTokens: 4, suffixDecodingMaxSpecFactor: 1 }],
  ["a head", { method: "mtp", numSpeculativeTokens: 2 }, { method: "mtp", numSpeculativeTokens: 2 }],
  ["a head by vLLM's older name", { method: "qwen3_next_mtp" }, { method: "mtp", numSpeculativeTokens: 4 }],
  ["another one's", { method: "qwen3_5_mtp" }, { method: "mtp", numSpeculativeTokens: 4 }],
  ["and the third", { method: "nemotron_h_mtp" }, { method: "mtp", numSpeculativeTokens: 4 }],
  [
    "a model",
    { method: "draft_model", model: "dir" },
    { method: "draft_model", model: "dir", numSpeculativeTokens: 4 },
  ],
])("%s", (_, options, expected) => {
  const config = speculativeConfig(options)!;
  expect(config).toEqual(expected);
  expect(speculativeConfig(config)).toEqual(expected); // what the command line has read is read again
});

test("nothing is guessed where nobody asks", () => {
  expect(speculativeConfig(undefined)).toBeNull();
});

test.each<[object, string]>([
  [{ method: "eagle" }, "speculativeConfig.method must be ngram, suffix, mtp, draft_model, got eagle"],
  [{ method: "toString" }, "speculativeConfig.method must be"],
  [{ method: "ngram", numSpeculativeTokens: 0 }, "speculativeConfig.numSpeculativeTokens must be a whole number"],
  [{ method: "mtp", numSpeculativeTokens: 8 }, "speculativeConfig.numSpeculativeTokens must be at most 7, got 8"],
  [{ method: "ngram", promptLookupMin: 9 }, "speculativeConfig.promptLookupMin must be at most promptLookupMax = 8"],
  [{ method: "mtp", promptLookupMax: 4 }, "speculativeConfig.promptLookupMax is of method ngram, and this is mtp"],
  [{ method: "ngram", model: "dir" }, "speculativeConfig.model is of method draft_model, and this is ngram"],
  [
    { method: "ngram", suffixDecodingMaxSpecFactor: 2 },
    "speculativeConfig.suffixDecodingMaxSpecFactor is of method suffix, and this is ngram",
  ],
  [
    { method: "suffix", suffixDecodingMaxSpecFactor: 0 },
    "speculativeConfig.suffixDecodingMaxSpecFactor must be a number above 0, got 0",
  ],
  [
    { method: "suffix", promptLookupMin: 2 },
    "speculativeConfig.promptLookupMin is of method ngram, and this is suffix",
  ],
  [{ method: "draft_model" }, "speculativeConfig.model must name the model that guesses"],
  [{ method: "draft_model", model: "" }, "speculativeConfig.model must name the model that guesses"],
])("%j is refused", (options, message) => {
  expect(() => speculativeConfig(options as SpeculativeOptions)).toThrow(message);
});
