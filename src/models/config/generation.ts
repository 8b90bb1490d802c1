import { z } from "zod";
import { flag, integer, tokenIds, within } from "./fields";
import type { ConfigFile } from "./json-file";
import type { GenerationDefaults, LanguageModelConfig } from "./language-model";

const schema = z.object({
  do_sample: flag().nullish(),
  temperature: within(0, 100, "a number from 0 to 100").nullish(),
  top_k: integer(0, 2 ** 31 - 1, "an integer from 0").nullish(),
  top_p: within(Number.MIN_VALUE, 1, "a number above 0 and at most 1").nullish(),
  min_p: within(0, 1, "a number from 0 to 1").nullish(),
  repetition_penalty: within(Number.MIN_VALUE, 100, "a number above 0 and at most 100").nullish(),
  eos_token_id: tokenIds.nullish(),
});

/**
 * Adds what generation_config.json says: its end-of-sequence tokens count besides those of config.json, and its sampling
 * becomes the default. `do_sample: false` is greedy, whatever temperature stands beside it.
 */
export function mergeGeneration<C extends LanguageModelConfig>(config: C, file: ConfigFile): C {
  const fields = file.fields(schema);
  const eos = fields.eos_token_id ?? [];
  if (eos.some((id) => id >= config.vocabSize)) {
    file.reject("eos_token_id", `token ids below the vocabulary size ${config.vocabSize}`);
  }
  const temperature = fields.do_sample === false ? 0 : fields.temperature;
  const generationDefaults: GenerationDefaults = {
    ...(typeof temperature === "number" ? { temperature } : {}),
    ...(typeof fields.top_k === "number" ? { topK: fields.top_k } : {}),
    ...(typeof fields.top_p === "number" ? { topP: fields.top_p } : {}),
    ...(typeof fields.min_p === "number" ? { minP: fields.min_p } : {}),
    ...(typeof fields.repetition_penalty === "number" ? { repetitionPenalty: fields.repetition_penalty } : {}),
  };
  return { ...config, eosTokenIds: [...new Set([...config.eosTokenIds, ...eos])], generationDefaults };
}
