import type { Command } from "commander";
import { addBenchKernels } from "./bench-kernels";
import { addBenchStep } from "./bench-step";

export function addBench(program: Command): void {
  const group = program
    .command("bench")
    .description("Measure kernels and whole steps beside what the device could do.")
    .helpCommand(false)
    .addHelpText("after", "\nExample:\n  mamba-serve bench kernels --judged");
  addBenchKernels(group);
  addBenchStep(group);
}
