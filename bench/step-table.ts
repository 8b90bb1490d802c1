import type { EngineResult } from "../src/bench/engine-bench";
import { floorMicroseconds } from "../src/bench/floor";
import { comparedMs, type StepResult } from "../src/bench/step-bench";
import { comparison, type Dated, measure, newest, provenance, type RatesLine, ratesOf } from "./lines";

/** Lines of before there was a choice say nothing of it: a context of one token, keys and values in the model's type, no codes. */
type Later = "context" | "kv_dtype" | "quantize" | "deterministic";
type StepLine = Dated & Omit<StepResult, Later> & Partial<Pick<StepResult, Later>>;
type Line = StepLine | (Dated & (RatesLine | EngineResult));

const isPlainStep = (line: Line): line is StepLine =>
  "model" in line && line.figure !== "engine_step" && line.deterministic !== true;

const count = (tokens: number) => tokens.toLocaleString("en-US");

/** Models without attention: a decode of theirs is as many operations after another context. */
function attentionless(steps: readonly StepLine[]): ReadonlySet<string> {
  const decodes = steps.filter(({ figure }) => figure === "decode_step_ms");
  const isSame = (a: StepLine, b: StepLine) => a.model === b.model && a.size === b.size && a.flops === b.flops;
  const found = decodes.filter((a) => decodes.some((b) => isSame(a, b) && (a.context ?? 1) !== (b.context ?? 1)));
  return new Set(found.map(({ model }) => model));
}

/** Decode steps and prefills of each model, as they were measured last; a model's rows stand together, decodes first. */
export function stepTable(lines: readonly Line[]): string {
  const steps = lines.filter(isPlainStep);
  const free = attentionless(steps);
  /** Tokens before a step's own that it attends to. */
  const contextOf = ({ model, figure, context = 1 }: StepLine) =>
    figure === "prefill_ms" || free.has(model) ? 0 : context;
  const weightsOf = ({ model, quantize = "none" }: StepLine) =>
    quantize === "none" ? model : `${model} as ${quantize}`;
  const stateOf = ({ state_dtype, kv_dtype }: StepLine) => (kv_dtype === "u8" ? `${state_dtype}, KV fp8` : state_dtype);

  const last = newest(
    steps,
    (line) => `${weightsOf(line)} ${line.figure} ${line.size} ${contextOf(line)} ${stateOf(line)}`,
  );
  const order = [...new Set(steps.map(weightsOf))];
  const used = [...last.values()].sort(
    (a, b) =>
      order.indexOf(weightsOf(a)) - order.indexOf(weightsOf(b)) ||
      a.figure.localeCompare(b.figure) ||
      a.size - b.size ||
      contextOf(a) - contextOf(b),
  );
  const rows = used.map((line) => {
    const { figure, size, peer, peer_ms, commit } = line;
    const after = contextOf(line) > 1 ? `, context ${count(contextOf(line))}` : "";
    const name = figure === "decode_step_ms" ? `decode, batch ${size}${after}` : `prefill, ${count(size)} tokens`;
    const ms = comparedMs(line);
    const floor = floorMicroseconds(line, ratesOf(lines, line)) / 1e3;
    const cells = [
      weightsOf(line),
      name,
      stateOf(line),
      measure(ms),
      ...comparison(floor, floor / ms, peer, peer_ms, ms),
    ];
    return `| ${[...cells, commit ?? "-"].join(" | ")} |`;
  });
  return [
    provenance(lines, used),
    "",
    "| model | step | state | ms | floor, ms | share | best peer, ms | times faster | commit |",
    "|---|---|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
