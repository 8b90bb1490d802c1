import { comparedMs, type StepResult } from "../src/bench/step-bench";
import { type Dated, measure, newest, peerText, provenance, type RatesLine } from "./lines";

type Line = Dated & (RatesLine | StepResult);

/** Decode steps and prefills of each model, as they were measured last. */
export function stepTable(lines: readonly Line[]): string {
  const steps = newest(
    lines.filter((line) => "model" in line),
    ({ model, figure, size, state_dtype }) => `${model} ${figure} ${size} ${state_dtype}`,
  );
  const rows = [...steps.values()].map((line) => {
    const { model, figure, size, state_dtype, share, peer, peer_ms } = line;
    const name =
      figure === "decode_step_ms" ? `decode, batch ${size}` : `prefill, ${size.toLocaleString("en-US")} tokens`;
    const ms = comparedMs(line);
    const cells = [
      model,
      name,
      state_dtype,
      measure(ms),
      peerText(peer, peer_ms, ms, "ms"),
      `${Math.round(100 * share)} %`,
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [
    provenance(lines, [...steps.values()]),
    "",
    "| model | step | state | ms | best peer | share of the floor |",
    "|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
