import { InvalidArgumentError, Option } from "commander";
import { type SpeculativeOptions, speculativeConfig } from "../engine/policy/speculative-config";
import { EngineError } from "../errors";

/** Keys of the flag's JSON, as vLLM has them, and what EngineOptions calls them. */
const fields: Readonly<Record<string, keyof SpeculativeOptions>> = {
  method: "method",
  num_speculative_tokens: "numSpeculativeTokens",
  prompt_lookup_min: "promptLookupMin",
  prompt_lookup_max: "promptLookupMax",
  suffix_decoding_max_spec_factor: "suffixDecodingMaxSpecFactor",
  model: "model",
};

/** Keys of vLLM's method suffix that mean nothing here, with the value that asks for nothing. */
const unfit: Readonly<Record<string, { readonly off?: number; readonly because: string }>> = {
  suffix_decoding_max_tree_depth: { because: "ends of any length are compared" },
  suffix_decoding_max_cached_requests: { off: 0, because: "only a request's own tokens are looked up" },
  suffix_decoding_min_token_prob: { off: 0, because: "continuations are not counted, the newest is taken" },
};

export function speculativeOption(): Option {
  const help =
    'guess next tokens, as JSON: {"method":"ngram","num_speculative_tokens":4}, or by method suffix, mtp, or draft_model with a model';
  return new Option("--speculative-config <json>", help).argParser(parse);
}

function parse(text: string): SpeculativeOptions {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`It is not JSON: ${(error as Error).message}`);
  }
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new InvalidArgumentError("It has to be a JSON object.");
  }
  const entries = Object.entries(given).filter(([key, value]) => {
    if (!Object.hasOwn(unfit, key)) return true;
    const { off, because } = unfit[key]!;
    if (value === off) return false;
    const fits = off === undefined ? "" : ` or give ${off}`;
    throw new InvalidArgumentError(`${key} is not supported, because ${because}; leave it out${fits}.`);
  });
  const unknown = entries.map(([key]) => key).find((key) => !Object.hasOwn(fields, key));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`${unknown} is not known; there are ${Object.keys(fields).join(", ")}.`);
  }
  const named = Object.fromEntries(entries.map(([key, value]) => [fields[key]!, value]));
  const options = "model" in named ? { method: "draft_model", ...named } : named; // as vLLM takes a model without a method
  try {
    return speculativeConfig(options as unknown as SpeculativeOptions)!;
  } catch (error) {
    if (EngineError.is(error)) throw new InvalidArgumentError(error.message);
    throw error;
  }
}
