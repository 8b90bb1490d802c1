import type { EngineResult } from "../src/bench/engine-bench";
import { floorMicroseconds } from "../src/bench/floor";
import { comparedMs, type StepResult } from "../src/bench/step-bench";
import { comparison, type Dated, measure, newest, provenance, type RatesLine, ratesOf } from "./lines";

/** Lines of before there was a choice have no context: it was one token. */
type StepLine = Dated & Omit<StepResult, "context"> & Partial<Pick<StepResult, "context">>;
type Line = StepLine | (Dated & (RatesLine | EngineResult));

const isStep = (line: Line): line is StepLine => "model" in line && line.figure !== "engine_step";

const count = (tokens: number) => tokens.toLocaleString("en-US");

/** Decode steps and prefills of each model, as they were measured last. */
export function stepTable(lines: readonly Line[]): string {
  const steps = newest(
    lines.filter(isStep),
    ({ model, figure, size, context = 1, state_dtype }) => `${model} ${figure} ${size} ${context} ${state_dtype}`,
  );
  const rows = [...steps.values()].map((line) => {
    const { model, figure, size, context = 1, state_dtype, peer, peer_ms } = line;
    const after = context > 1 ? `, context ${count(context)}` : "";
    const name = figure === "decode_step_ms" ? `decode, batch ${size}${after}` : `prefill, ${count(size)} tokens`;
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
