import type { EngineResult } from "../src/bench/engine-bench";
import { floorMicroseconds } from "../src/bench/floor";
import { comparedMs, type StepResult } from "../src/bench/step-bench";
import { comparison, type Dated, measure, newest, provenance, type RatesLine, ratesOf } from "./lines";

type Line = Dated & (RatesLine | StepResult | EngineResult);

const isStep = (line: Line): line is Dated & StepResult => "model" in line && line.figure !== "engine_step";

/** Decode steps and prefills of each model, as they were measured last. */
export function stepTable(lines: readonly Line[]): string {
  const steps = newest(
    lines.filter(isStep),
    ({ model, figure, size, state_dtype }) => `${model} ${figure} ${size} ${state_dtype}`,
  );
  const rows = [...steps.values()].map((line) => {
    const { model, figure, size, state_dtype, peer, peer_ms } = line;
    const name =
      figure === "decode_step_ms" ? `decode, batch ${size}` : `prefill, ${size.toLocaleString("en-US")} tokens`;
    const ms = comparedMs(line);
    const floor = floorMicroseconds(line, ratesOf(lines, line)) / 1e3;
    const cells = [model, name, state_dtype, measure(ms), ...comparison(floor, floor / ms, peer, peer_ms, ms)];
    return `| ${cells.join(" | ")} |`;
  });
  return [
    provenance(lines, [...steps.values()]),
    "",
    "| model | step | state | ms | floor, ms | share | best peer, ms | times faster |",
    "|---|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
