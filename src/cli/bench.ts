import type { Command } from "commander";
import { addBenchKernels } from "./bench-kernels";
import { addBenchLatency } from "./bench-latency";
import { addBenchServe } from "./bench-serve";
import { addBenchStartup } from "./bench-startup";
import { addBenchStep } from "./bench-step";
import { addBenchThroughput } from "./bench-throughput";

export function addBench(program: Command): void {
  const group = program
    .command("bench")
    .description("Measure servers, the engine, whole steps and kernels.")
    .helpCommand(false)
    .addHelpText("after", "\nExample:\n  mamba-serve bench serve --num-prompts 64 --max-concurrency 16");
  addBenchServe(group);
  addBenchLatency(group);
  addBenchThroughput(group);
  addBenchStartup(group);
  addBenchKernels(group);
  addBenchStep(group);
}
