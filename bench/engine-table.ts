import type { EngineResult } from "../src/bench/engine-bench";
import { type Dated, measure, newest, origin } from "./lines";

type Line = Dated & EngineResult;

/** The engine's loop in steady decode, as it was measured last. */
export function engineTable(lines: readonly Line[]): string {
  const steps = newest(
    lines.filter(({ figure }) => figure === "engine_step"),
    ({ model, size, overlap }) => `${model} ${size} ${overlap}`,
  );
  const rows = [...steps.values()].map((line) => {
    const { model, size, step_ms, host_us, before_step_us, idle_share, commit } = line;
    const parts = [host_us.schedule, host_us.metadata, host_us.launch].map(measure).join(" + ");
    const idle = `${(100 * idle_share).toFixed(1)} %`;
    const times = [measure(step_ms), measure(before_step_us.p50), parts, measure(host_us.output)];
    return `| ${[model, size, ...times, idle, commit ?? "-"].join(" | ")} |`;
  });
  return [
    `${origin([...steps.values()])}:`,
    "",
    "| model | sequences | ms from step to step | before a step, us | schedule + metadata + launch | output, us | GPU idle | commit |",
    "|---|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
