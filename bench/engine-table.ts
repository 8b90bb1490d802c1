import type { EngineResult } from "../src/bench/engine-bench";
import { type Dated, measure, newest } from "./lines";

type Line = Dated & EngineResult;

/** The engine's loop in steady decode, as it was measured last. */
export function engineTable(lines: readonly Line[]): string {
  const steps = newest(
    lines.filter(({ figure }) => figure === "engine_step"),
    ({ model, size, overlap }) => `${model} ${size} ${overlap}`,
  );
  const rows = [...steps.values()].map(({ model, size, step_ms, host_us, before_step_us, idle_share }) => {
    const parts = [host_us.schedule, host_us.metadata, host_us.launch].map(measure).join(" + ");
    const idle = `${(100 * idle_share).toFixed(1)} %`;
    return `| ${[model, size, measure(step_ms), measure(before_step_us.p50), parts, measure(host_us.output), idle].join(" | ")} |`;
  });
  const { hardware, date, commit } = [...steps.values()].at(-1)!;
  return [
    `${hardware}, ${date}${commit === null ? "" : `, commit ${commit}`}:`,
    "",
    "| model | sequences | ms from step to step | before a step, us | schedule + metadata + launch | output, us | GPU idle |",
    "|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
