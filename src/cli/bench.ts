import type { Command } from "commander";
import { addCommands } from "./commands";

export function defineBench(group: Command): void {
  group.addHelpText("after", "\nExample:\n  mamba-serve bench serve --num-prompts 64 --max-concurrency 16");
  addCommands(group, {
    serve: {
      description: "Load a server that speaks OpenAI's API, and measure how fast it answers.",
      load: () => (require("./bench-serve") as typeof import("./bench-serve")).defineBenchServe,
    },
    latency: {
      description: "Time batches of equal requests, in this process and one batch after the other.",
      load: () => (require("./bench-latency") as typeof import("./bench-latency")).defineBenchLatency,
    },
    throughput: {
      description: "Answer many requests as fast as possible, in this process, beside what the device's steps allow.",
      load: () => (require("./bench-throughput") as typeof import("./bench-throughput")).defineBenchThroughput,
    },
    startup: {
      description: "Time the start of a model, and the first requests after it.",
      load: () => (require("./bench-startup") as typeof import("./bench-startup")).defineBenchStartup,
    },
    kernels: {
      description: "Time every op on the layers of published models, after comparing it with the CPU backend.",
      load: () => (require("./bench-kernels") as typeof import("./bench-kernels")).defineBenchKernels,
    },
    step: {
      description: "Time decode steps and prefills of whole models.",
      load: () => (require("./bench-step") as typeof import("./bench-step")).defineBenchStep,
    },
  });
}
