import { type Command, InvalidArgumentError, Option } from "commander";
import type { GenerateParams } from "../llm/types";
import { listOf } from "./lists";
import { realNumber, wholeNumber } from "./numbers";

export type SamplingFlags = Pick<
  GenerateParams,
  | "maxTokens"
  | "temperature"
  | "topP"
  | "topK"
  | "minP"
  | "repetitionPenalty"
  | "presencePenalty"
  | "frequencyPenalty"
  | "seed"
  | "stop"
>;

/** The flags that say how tokens are drawn, named like the fields of GenerateParams. */
export function addSamplingFlags(command: Command, { maxTokens }: { maxTokens: number }): Command {
  const options = [
    new Option("--max-tokens <n>", "new tokens at most").argParser(wholeNumber(1)).default(maxTokens),
    new Option("--temperature <t>", "0 is greedy (default: the model's own)").argParser(realNumber(0, 100)),
    new Option("--top-p <p>", "keep the likeliest tokens up to this probability").argParser(
      realNumber(0, 1, { open: true }),
    ),
    new Option("--top-k <k>", "keep the k likeliest tokens; 0 is off").argParser(wholeNumber(0, 2 ** 31 - 1)),
    new Option("--min-p <p>", "keep tokens this likely, relative to the likeliest").argParser(realNumber(0, 1)),
    new Option("--repetition-penalty <r>", "makes tokens of prompt and output less likely; 1 is off").argParser(
      realNumber(0, 100, { open: true }),
    ),
    new Option("--presence-penalty <p>", "taken from the logits of tokens in the output; 0 is off").argParser(
      realNumber(-100, 100),
    ),
    new Option("--frequency-penalty <p>", "the same, for each time a token is in it").argParser(realNumber(-100, 100)),
    new Option("--seed <n>", "the same seed gives the same text (default: random)").argParser(wholeNumber(0)),
    new Option("--stop <text>", "end before this text; may be given several times").argParser(listOf(stopText)),
  ];
  for (const option of options) command.addOption(option.helpGroup("Sampling:"));
  return command;
}

function stopText(text: string): string {
  if (text !== "") return text;
  throw new InvalidArgumentError("Expected a text that is not empty.");
}

/** Only what addSamplingFlags() added, of all flags of a command: a model takes no others. */
export function samplingOf(flags: SamplingFlags): SamplingFlags {
  const { maxTokens, temperature, topP, topK, minP, repetitionPenalty, presencePenalty, frequencyPenalty } = flags;
  const { seed, stop } = flags;
  const all = {
    maxTokens,
    temperature,
    topP,
    topK,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    seed,
    stop,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
