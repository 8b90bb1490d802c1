import { type Command, Option } from "commander";
import { runSteps, type StepRunOptions } from "../bench/run-steps";
import { BUNDLED_MODEL } from "../llm/bundled-model";
import { addBenchFlags, type BenchFlags, wholeNumbers } from "./bench-flags";
import { BenchRecords } from "./bench-records";
import { engineRow, ratesText, stepHeading, stepRow } from "./bench-table";
import { floatTypes, kvCacheDtypeOption, modelHelp, quantizeOption } from "./engine-flags";
import { wholeNumber } from "./numbers";
import { StatusLine } from "./status-line";

type Flags = BenchFlags & Omit<StepRunOptions, "models" | "stateDtype"> & Partial<Pick<StepRunOptions, "stateDtype">>;

export function defineBenchStep(command: Command): void {
  command
    .argument("[MODEL...]", `${modelHelp}; several are measured in turn`, [BUNDLED_MODEL])
    .option("--batch <list>", "sequences of a decode step", wholeNumbers, [1, 8, 64])
    .option("--context <n>", "tokens that each sequence of a decode step has already", wholeNumber(1, 2 ** 20), 1)
    .option("--prefill <list>", "tokens of a prompt", wholeNumbers, [2048, 8192])
    .addOption(new Option("--dtype <type>", "type of activations and matrices").choices(floatTypes).default("auto"))
    .addOption(
      new Option(
        "--state-dtype <type>",
        "type of the SSM state (default: bfloat16, with --deterministic float32)",
      ).choices(floatTypes),
    )
    .addOption(kvCacheDtypeOption())
    .addOption(quantizeOption())
    .addOption(
      new Option("--load-format <format>", "dummy: random weights from config.json alone")
        .choices(["auto", "dummy"])
        .default("dummy"),
    )
    .option("--deterministic", "each model once more in the deterministic mode, with what that costs")
    .option("--no-overlap", "the engine's loop waits for a step's tokens before it launches the next step")
    .addHelpText(
      "after",
      `
ms is the device's time under graph replay, wall what the engine waits for a step; a prefill is launched eagerly there, a
decode replays its graph. The floor is the longer of all matrices, states, keys and values at the rate of a large copy and the arithmetic
at the rate of a large matrix product. A peer's decode is compared with ms, its prefill with wall.

The line below a decode step is of the engine's own loop with as many requests: the time from step to step, the host's part
before a step (schedule, metadata, launch: median and 99th percentile), what follows a step (output), and the share of the time
in which the device runs no step. The launch hands the step to a thread that makes the driver's calls.

Example:
  mamba-serve bench step
  mamba-serve bench step bench/models/bamba-9b --batch 1,64,256 --context 1024 --save bench/results/h200-step.jsonl`,
    );
  addBenchFlags(command).action(async (models: string[], flags: Flags) => {
    const records = new BenchRecords("step", flags);
    const status = new StatusLine();
    const print = (line: string) => {
      if (flags.json) return;
      status.clear();
      process.stdout.write(`${line}\n`);
    };
    const stateDtype = flags.stateDtype ?? (flags.deterministic ? "float32" : "bfloat16");
    let heading = "";
    await runSteps(
      { ...flags, stateDtype, models },
      {
        onMessage: (message) => process.stderr.write(`note: ${message}\n`),
        onProgress: (what) => status.show(what),
        onRates: (hardware, rates) => {
          records.add({ figure: "device", hardware, ...rates });
          print(ratesText(hardware, rates));
        },
        onResult: (result) => {
          records.add(result);
          const wanted = stepHeading(result);
          if (wanted !== heading) print(`\n${wanted}`);
          heading = wanted;
          print(stepRow(result));
        },
        onEngine: (result) => {
          records.add(result);
          print(engineRow(result));
        },
      },
    ).finally(() => status.clear());
  });
}
