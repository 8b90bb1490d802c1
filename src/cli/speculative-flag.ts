import { InvalidArgumentError, Option } from "commander";
import { type SpeculativeOptions, speculativeConfig } from "../engine/policy/speculative-config";
import { EngineError } from "../errors";

/** Keys of the flag's JSON, as vLLM has them, and what EngineOptions calls them. */
const fields: Readonly<Record<string, keyof SpeculativeOptions>> = {
  method: "method",
  num_speculative_tokens: "numSpeculativeTokens",
  prompt_lookup_min: "promptLookupMin",
  prompt_lookup_max: "promptLookupMax",
  model: "model",
};

export function speculativeOption(): Option {
  const help =
    'guess next tokens, as JSON: {"method":"ngram","num_speculative_tokens":4}, or by method mtp, or draft_model with a model';
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
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(fields, key));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`${unknown} is not known; there are ${Object.keys(fields).join(", ")}.`);
  }
  const named = Object.fromEntries(Object.entries(given).map(([key, value]) => [fields[key]!, value]));
  const options = "model" in named ? { method: "draft_model", ...named } : named; // as vLLM takes a model without a method
  try {
    return speculativeConfig(options as unknown as SpeculativeOptions)!;
  } catch (error) {
    if (EngineError.is(error)) throw new InvalidArgumentError(error.message);
    throw error;
  }
}
