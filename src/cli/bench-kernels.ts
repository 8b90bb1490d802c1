import { type Command, Option } from "commander";
import type { Rates } from "../bench/floor";
import { type Op, ops } from "../bench/kernel-case";
import { geometryNames } from "../bench/kernel-cases";
import { runKernels } from "../bench/run-kernels";
import { addBenchFlags, type BenchFlags } from "./bench-flags";
import { BenchRecords } from "./bench-records";
import { kernelHeading, kernelRow, ratesText } from "./bench-table";
import { StatusLine } from "./status-line";

interface Flags extends BenchFlags {
  readonly model?: readonly string[];
  readonly op?: readonly Op[];
  readonly judged?: true;
}

export function defineBenchKernels(command: Command): void {
  command
    .addOption(
      new Option("--model <name...>", "only layers of these models (default: all published ones)").choices(
        geometryNames,
      ),
    )
    .addOption(new Option("--op <name...>", "only these ops").choices([...ops]))
    .option("--judged", "only the cases that the project has goals for")
    .addHelpText(
      "after",
      `
A time is the median over launches with nothing in the device's caches. Beside it: a copy of as many bytes; the floor,
which is the longer of the bytes at the rate of a large copy and the arithmetic at the rate of a large matrix product, both
measured in the same run; and where one is known for this hardware, the best time of another implementation.
Exits with 1 if an op differs from the CPU backend; nothing is timed then.

Example:
  mamba-serve bench kernels --judged
  mamba-serve bench kernels --device cpu --model storyteller-6m --op rms_norm linear
  mamba-serve bench kernels --save bench/results/h200-kernels.jsonl`,
    );
  addBenchFlags(command).action(async (flags: Flags) => {
    const records = new BenchRecords("kernels", flags);
    const status = new StatusLine();
    const print = (line: string) => {
      if (flags.json) return;
      status.clear();
      process.stdout.write(`${line}\n`);
    };
    let measured: Rates;
    let op = "";
    let model = "";
    const mismatch = await runKernels(
      { ...flags, models: flags.model, ops: flags.op },
      {
        onMessage: (message) => process.stderr.write(`note: ${message}\n`),
        onProgress: (done, total, what) => status.show(`${done + 1}/${total} ${what}`),
        onRates: (hardware, rates) => {
          measured = rates;
          records.add({ op: "device", hardware, ...rates });
          print(ratesText(hardware, rates));
        },
        onResult: (result) => {
          records.add(result);
          if (result.op !== op) print(`\n${kernelHeading(result.op)}`);
          const models = result.models.join(", ");
          if (result.op !== op || models !== model) print(` ${models}`);
          [op, model] = [result.op, models];
          print(kernelRow(result, measured));
        },
      },
    ).finally(() => status.clear());
    if (mismatch === null) return;
    process.stderr.write(`error: differs from the CPU backend: ${mismatch}\n`);
    process.exitCode = 1;
  });
}
