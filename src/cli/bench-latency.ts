import type { Command } from "commander";
import { type LatencyOptions, type LatencyResult, latencyPercents, measureLatency } from "../bench/latency";
import type { EngineOptions } from "../engine/policy/config";
import { addRecordFlags, type RecordFlags } from "./bench-flags";
import { BenchRecords } from "./bench-records";
import { addEngineFlags, addModelArgument } from "./engine-flags";
import { wholeNumber } from "./numbers";
import { StatusLine } from "./status-line";
import { withModel } from "./with-model";

type Flags = RecordFlags & EngineOptions & LatencyOptions;

export function defineBenchLatency(command: Command): void {
  command
    .option("--input-len <n>", "tokens of each prompt", wholeNumber(1), 32)
    .option("--output-len <n>", "new tokens of each answer", wholeNumber(1), 128)
    .option("--batch-size <n>", "requests that are submitted together", wholeNumber(1, 65_536), 8)
    .option("--num-iters-warmup <n>", "batches before, which do not count", wholeNumber(0), 10)
    .option("--num-iters <n>", "batches that count", wholeNumber(1), 30)
    .addHelpText(
      "after",
      `
Flags, output and JSON keys are those of \`vllm bench latency\`.

Example:
  mamba-serve bench latency
  mamba-serve bench latency bench/models/mamba2-2.7b --load-format dummy --batch-size 1 --json`,
    );
  addModelArgument(command);
  addRecordFlags(command);
  addEngineFlags(command, { maxNumSeqs: 64, prefixCache: false });
  command.action(async (model: string, flags: Flags) => {
    const records = new BenchRecords("latency", flags);
    await withModel(model, flags, async (llm) => {
      const status = new StatusLine();
      const { inputLen, outputLen, batchSize, numItersWarmup, numIters } = flags;
      const result = await measureLatency(llm, flags, (i) => {
        const counted = i - numItersWarmup;
        status.show(counted < 0 ? `warm-up ${i + 1} of ${numItersWarmup}` : `batch ${counted + 1} of ${numIters}`);
      }).finally(() => status.clear());
      const { id, device, dtype, stateDtype } = llm.info;
      records.add({
        ...{ model: id, device, dtype, state_dtype: stateDtype },
        ...{ input_len: inputLen, output_len: outputLen, batch_size: batchSize },
        ...result,
      });
      if (!flags.json) process.stdout.write(latencyText(result));
    });
  });
}

function latencyText({ avg_latency, std_latency, percentiles }: LatencyResult): string {
  const seconds = (value: number) => `${value.toFixed(6)} seconds\n`;
  const rows = latencyPercents.map((percent) => `${percent}% percentile latency: ${seconds(percentiles[percent]!)}`);
  return `Avg latency: ${seconds(avg_latency)}Std latency: ${seconds(std_latency)}${rows.join("")}`;
}
