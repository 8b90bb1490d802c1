import { type Command, Option } from "commander";
import { type EngineOptions, quantizeNames } from "../engine/policy/config";
import { BUNDLED_MODEL } from "../llm/bundled-model";
import { deviceKinds } from "../tensor/device";
import { realNumber, wholeNumber } from "./numbers";
import { speculativeOption } from "./speculative-flag";

/** What MODEL is, in the help of every command. */
export const modelHelp = "model directory, file in GGUF, name of a bundled model, or org/name of one on the hub";

/** Far above any machine's cores; the operating system may refuse more threads by ending the process. */
const MAX_THREADS = 1024;

/** What --dtype and --state-dtype take. */
export const floatTypes = ["auto", "float32", "bfloat16", "float16"];

export function deviceOption(help: string): Option {
  return new Option("--device <name>", `${help}; auto: a GPU if there is one`)
    .choices(["auto", ...deviceKinds])
    .default("auto");
}

export function threadsOption(): Option {
  return new Option("--threads <n>", "CPU threads that compute (default: one per core)").argParser(
    wholeNumber(1, MAX_THREADS),
  );
}

export function kvCacheDtypeOption(): Option {
  return new Option("--kv-cache-dtype <type>", "type of attention's keys and values; fp8: e4m3")
    .choices(["auto", "fp8"])
    .default("auto");
}

export function quantizeOption(): Option {
  return new Option("--quantize <format>", "what matrices of floats become when they are loaded")
    .choices(quantizeNames)
    .default("none");
}

export function addModelArgument(command: Command): Command {
  return command.argument("[MODEL]", modelHelp, BUNDLED_MODEL);
}

/**
 * The flags that say how a model is loaded and run. Their names are the fields of EngineOptions, so that a command's
 * parsed flags are its options. `maxNumSeqs` is the default for that flag, as state memory is taken for each sequence; without it
 * the engine's. `prefixCache`: default of that flag, false where the same prompts are timed again and again.
 */
export function addEngineFlags(
  command: Command,
  { maxNumSeqs, prefixCache = true }: { maxNumSeqs?: number; prefixCache?: boolean } = {},
): Command {
  const choice = (flags: string, help: string, choices: readonly string[]) =>
    new Option(flags, help).choices(choices).default("auto");
  const size = (flags: string, help: string) => new Option(flags, help).argParser(wholeNumber(1, 2 ** 31 - 1));
  const options = [
    deviceOption("where the model runs"),
    threadsOption(),
    size("--tensor-parallel-size <n>", "GPUs that compute the model together").default(1),
    new Option("--enable-expert-parallel", "each of them has some experts, instead of a part of every expert"),
    choice("--dtype <type>", "type of activations and matrices", floatTypes),
    choice("--state-dtype <type>", "type of the SSM state", floatTypes),
    kvCacheDtypeOption(),
    quantizeOption(),
    size("--max-num-seqs <n>", "sequences that run at once").default(
      maxNumSeqs,
      maxNumSeqs ? `${maxNumSeqs}` : "64, on a GPU 256",
    ),
    size("--max-num-batched-tokens <n>", "tokens of one step (default: 512, on a GPU 8192, and one for each sequence)"),
    new Option("--gpu-memory-utilization <share>", "of a GPU's memory that the engine may take")
      .argParser(realNumber(0, 1, { open: true }))
      .default(0.9),
    new Option("--no-overlap", "wait for a step's tokens before the next step is launched"),
    prefixCache
      ? new Option("--no-prefix-cache", "compute every prompt from its beginning")
      : new Option("--prefix-cache", "reuse what was computed for prompts that begin alike").default(false),
    size("--prefix-cache-states <n>", "states that the prefix cache keeps (default: 2 for each sequence, if they fit)"),
    new Option("--prefix-cache-host-memory <GiB>", "of host memory for more of them")
      .argParser(realNumber(0, 2 ** 20))
      .default(0),
    choice("--prefix-cache-host-dtype <type>", "how states lie there; int8: rounded, four times as many", [
      "auto",
      "int8",
    ]),
    new Option("--deterministic", "the same bits for a request whatever else runs; slower"),
    speculativeOption(),
    size("--max-model-len <n>", "tokens of prompt and output together").default(
      undefined,
      "131072, or what the model has positions for",
    ),
    choice("--load-format <format>", "dummy: random weights from config.json alone", ["auto", "dummy"]),
  ];
  for (const option of options) command.addOption(option.helpGroup("Engine:"));
  return command;
}

/** Ends a command that deals in text where the flags load no tokenizer. */
export function refuseDummy(command: Command, { loadFormat }: EngineOptions): void {
  if (loadFormat !== "dummy") return;
  command.error(
    `error: ${command.name()} needs a tokenizer, which --load-format dummy leaves out; dummy weights are for serve`,
  );
}
