import type { Command } from "commander";
import { measureStartup, type StartupOptions, type StartupResult } from "../bench/startup";
import type { EngineOptions } from "../engine/policy/config";
import { modelPath } from "../llm/bundled-model";
import { LLM } from "../llm/llm";
import { addRecordFlags, type RecordFlags } from "./bench-flags";
import { BenchRecords } from "./bench-records";
import { addEngineFlags, addModelArgument } from "./engine-flags";
import { renderFacts } from "./facts";
import { wholeNumber } from "./numbers";
import { StatusLine } from "./status-line";
import { formatBytes, formatMeasure } from "./units";

type Flags = RecordFlags & EngineOptions & StartupOptions;

export function defineBenchStartup(command: Command): void {
  command
    .option("--input-len <n>", "tokens of each prompt", wholeNumber(1), 512)
    .option("--output-len <n>", "new tokens of each answer", wholeNumber(1), 32)
    .option("--requests <n>", "requests after the start, one after the other", wholeNumber(2), 10)
    .addHelpText(
      "after",
      `
Weights are compared with a plain read of the same files, both from the page cache. A start is good when the first request
takes no longer than the last.

Example:
  mamba-serve bench startup
  mamba-serve bench startup bench/models/mamba-codestral-7b --load-format dummy --json`,
    );
  addModelArgument(command);
  addRecordFlags(command);
  addEngineFlags(command);
  command.action(async (model: string, flags: Flags) => {
    const records = new BenchRecords("startup", flags);
    const status = new StatusLine();
    const facts = { model, device: "", dtype: "", state_dtype: "" };
    const dir = flags.loadFormat === "dummy" ? null : modelPath(model);
    const result = await measureStartup(
      async (onWeights) => {
        status.show("loading");
        const llm = await LLM.load(model, {
          ...flags,
          onProgress: onWeights,
          onMessage: (message) => process.stderr.write(`note: ${message}\n`),
        });
        const { id, device, dtype, stateDtype } = llm.info;
        Object.assign(facts, { model: id, device, dtype, state_dtype: stateDtype });
        status.show("requests");
        return llm;
      },
      dir,
      flags,
    ).finally(() => status.clear());
    records.add({ ...facts, input_len: flags.inputLen, output_len: flags.outputLen, ...result });
    if (!flags.json) process.stdout.write(startupText(result));
  });
}

function startupText(result: StartupResult): string {
  const { weights_seconds, prepare_seconds, checkpoint_bytes, read_seconds, read_share } = result;
  const seconds = (value: number) => `${formatMeasure(value)} s`;
  const rate = (value: number) => `${formatBytes(Math.round(checkpoint_bytes / value))}/s`;
  const plain = read_seconds === null ? "" : `, ${rate(weights_seconds)}; a plain read reaches ${rate(read_seconds)}`;
  const share = read_share === null ? "" : ` (${Math.round(100 * read_share)} %)`;
  const milliseconds = (values: readonly number[]) =>
    `${formatMeasure(values[0]!)} ms at the first request, ${formatMeasure(values.at(-1)!)} ms at the last`;
  return renderFacts([
    [
      ["weights", `${seconds(weights_seconds)}${plain}${share}`],
      ["preparing", `${seconds(prepare_seconds)} for workspace, kernels, states and graphs`],
    ],
    [
      ["first token", milliseconds(result.first_token_ms)],
      ["whole answer", `${milliseconds(result.latency_ms)} (${result.first_to_last.toFixed(2)} times)`],
    ],
  ]);
}
