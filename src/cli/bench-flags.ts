import { type Command, InvalidArgumentError } from "commander";
import { deviceOption, threadsOption } from "./engine-flags";
import { wholeNumber } from "./numbers";

/** Where figures go. */
export interface RecordFlags {
  readonly json?: true;
  readonly save?: string;
  readonly commit?: string;
}

export interface BenchFlags extends RecordFlags {
  readonly device: "auto" | "cuda" | "cpu";
  readonly threads?: number;
  readonly runs?: number;
}

/** What benchmarks of ops and steps take. */
export function addBenchFlags(command: Command): Command {
  command
    .addOption(deviceOption("what is measured"))
    .addOption(threadsOption())
    .option(
      "--runs <n>",
      "timed runs of each, of which the median counts (default: 41, on the CPU 5)",
      wholeNumber(1, 10_000),
    );
  return addRecordFlags(command);
}

export function addRecordFlags(command: Command): Command {
  return command
    .option("--json", "print JSON lines instead of a table")
    .option("--save <file>", "append the JSON lines to a file, such as bench/results/h200-kernels.jsonl")
    .option("--commit <hash>", "what the lines say was measured (default: the commit of this checkout)");
}

/** Parses "1,8,64". */
export function wholeNumbers(text: string): number[] {
  const parse = wholeNumber(1, 2 ** 20);
  const values = text.split(",").map((part) => parse(part.trim()));
  if (new Set(values).size < values.length) throw new InvalidArgumentError("Expected each number once.");
  return values;
}
