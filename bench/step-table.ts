import type { EngineResult } from "../src/bench/engine-bench";
import { floorMicroseconds } from "../src/bench/floor";
import { comparedMs, type StepResult } from "../src/bench/step-bench";
import { comparison, type Dated, measure, newest, provenance, type RatesLine, ratesOf } from "./lines";

/** Lines of before there was a choice say nothing of it: a context of one token, keys and values in the model's type, no codes. */
type Later = "context" | "kv_dtype" | "quantize";
type StepLine = Dated & Omit<StepResult, Later> & Partial<Pick<StepResult, Later>>;
type Line = StepLine | (Dated & (RatesLine | EngineResult));

const isStep = (line: Line): line is StepLine => "model" in line && line.figure !== "engine_step";

const count = (tokens: number) => tokens.toLocaleString("en-US");

/** Decode steps and prefills of each model, as they were measured last. */
export function stepTable(lines: readonly Line[]): string {
  const steps = newest(
    lines.filter(isStep),
    ({ model, figure, size, context = 1, state_dtype, kv_dtype = "", quantize = "none" }) =>
      `${model} ${quantize} ${figure} ${size} ${context} ${state_dtype} ${kv_dtype === "u8"}`,
  );
  const rows = [...steps.values()].map((line) => {
    const { model, figure, size, context = 1, state_dtype, kv_dtype, quantize = "none", peer, peer_ms } = line;
    const after = context > 1 ? `, context ${count(context)}` : "";
    const name = figure === "decode_step_ms" ? `decode, batch ${size}${after}` : `prefill, ${count(size)} tokens`;
    const ms = comparedMs(line);
    const floor = floorMicroseconds(line, ratesOf(lines, line)) / 1e3;
    const state = kv_dtype === "u8" ? `${state_dtype}, KV fp8` : state_dtype;
    const weights = quantize === "none" ? model : `${model} as ${quantize}`;
    const cells = [weights, name, state, measure(ms), ...comparison(floor, floor / ms, peer, peer_ms, ms)];
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
