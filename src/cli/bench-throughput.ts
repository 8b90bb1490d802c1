import { type Command, InvalidArgumentError } from "commander";
import { measureSteps } from "../bench/measure-steps";
import { type MeasuredSteps, StepTimes } from "../bench/step-times";
import {
  measureThroughput,
  type Range,
  randomRequests,
  type ThroughputRequest,
  type ThroughputResult,
} from "../bench/throughput";
import { type ThroughputBound, throughputBound } from "../bench/throughput-bound";
import type { EngineOptions } from "../engine/policy/config";
import type { SchedulerConfig } from "../engine/policy/scheduler-config";
import type { LLM } from "../llm/llm";
import { addRecordFlags, type RecordFlags } from "./bench-flags";
import { BenchRecords } from "./bench-records";
import { addEngineFlags, addModelArgument } from "./engine-flags";
import { wholeNumber } from "./numbers";
import { StatusLine } from "./status-line";
import { formatCount } from "./units";
import { withModel } from "./with-model";

interface Flags extends RecordFlags, EngineOptions {
  readonly numPrompts: number;
  readonly inputLen: Range;
  readonly outputLen: Range;
  readonly seed: number;
  readonly bound: boolean;
}

const PROGRESS_MS = 100;

export function defineBenchThroughput(command: Command): void {
  const lengths = { least: 100, most: 1024 };
  command
    .option("--num-prompts <n>", "requests, all submitted at once", wholeNumber(1, 2 ** 20), 256)
    .option("--input-len <n>", "tokens of a prompt: a number, or a range that lengths are drawn from", range, lengths)
    .option("--output-len <n>", "new tokens of an answer, likewise", range, lengths)
    .option("--seed <n>", "of lengths and tokens", wholeNumber(0), 0)
    .option("--no-bound", "leave out the bound, which takes a second load of the model")
    .addHelpText(
      "after",
      `
Output and JSON keys are those of \`vllm bench throughput\`. The bound is what the same requests would take if nothing but the
device took time: decode steps and prefills of several sizes are timed on it, the scheduler plans the requests once more, and
the times of its steps are summed. Decoding is greedy, and answers run to their full length.

Example:
  mamba-serve bench throughput --num-prompts 64 --input-len 128 --output-len 64
  mamba-serve bench throughput bench/models/mamba-codestral-7b --load-format dummy --input-len 100-1024 --max-num-seqs 256`,
    );
  addModelArgument(command);
  addRecordFlags(command);
  addEngineFlags(command, { prefixCache: false });
  for (const option of command.options) {
    if (option.defaultValue === lengths) option.defaultValueDescription = "100-1024";
  }
  command.action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const records = new BenchRecords("throughput", flags);
  const status = new StatusLine();
  let description = {};
  let requests: ThroughputRequest[] = [];
  let limits: SchedulerConfig | undefined;
  let result: ThroughputResult | undefined;
  await withModel(model, { ...flags, maxQueue: flags.numPrompts }, async (llm) => {
    const { id, device, dtype, stateDtype, vocabSize } = llm.info;
    limits = llm.limits!; // known, as the engine runs in this process
    requests = randomRequests(flags.numPrompts, { ...flags, vocabSize });
    description = { model: id, device, dtype, state_dtype: stateDtype, max_num_seqs: limits!.maxNumSeqs };
    result = await measure(llm, requests, status);
  });
  if (!flags.json) process.stdout.write(throughputText(result!));
  let bound = {};
  if (flags.bound) {
    const steps = await timeSteps(model, flags, requests, limits!, status);
    const computed = throughputBound(requests, limits!, new StepTimes(steps));
    if (!flags.json) process.stdout.write(boundText(result!, computed));
    bound = {
      bound_output_tokens_per_second: computed.outputTokensPerSecond,
      bound_share: result!.output_tokens_per_second / computed.outputTokensPerSecond,
      bound_device_seconds: computed.deviceSeconds,
      bound_steps: computed.steps,
      step_times_ms: steps,
    };
  }
  records.add({ ...description, seed: flags.seed, ...result!, ...bound });
}

async function measure(
  llm: LLM,
  requests: readonly ThroughputRequest[],
  status: StatusLine,
): Promise<ThroughputResult> {
  const total = requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  const start = performance.now();
  let done = 0;
  const timer = setInterval(() => {
    const rate = Math.round((1000 * done) / (performance.now() - start));
    status.show(`${formatCount(done)} of ${formatCount(total)} output tokens, ${formatCount(rate)} tokens/s`);
  }, PROGRESS_MS);
  try {
    return await measureThroughput(llm, requests, (count) => {
      done += count;
    });
  } finally {
    clearInterval(timer);
    status.clear();
  }
}

/** Step times up to the largest steps that these requests can make. */
async function timeSteps(
  model: string,
  flags: Flags,
  requests: readonly ThroughputRequest[],
  { maxNumSeqs, maxNumBatchedTokens }: SchedulerConfig,
  status: StatusLine,
): Promise<MeasuredSteps> {
  const promptTokens = requests.reduce((sum, { prompt }) => sum + prompt.length, 0);
  const largest = {
    maxDecodes: Math.min(maxNumSeqs, requests.length),
    maxPrefill: Math.min(maxNumBatchedTokens, promptTokens),
  };
  return measureSteps(model, flags, largest, (what) => status.show(`bound: ${what}`)).finally(() => status.clear());
}

function throughputText(result: ThroughputResult): string {
  const rate = (value: number, unit: string) => `${value.toFixed(2)} ${unit}`;
  const rates = [
    rate(result.requests_per_second, "requests/s"),
    rate(result.tokens_per_second, "total tokens/s"),
    rate(result.output_tokens_per_second, "output tokens/s"),
  ];
  return `Throughput: ${rates.join(", ")}
Total num prompt tokens:  ${result.total_num_prompt_tokens}
Total num output tokens:  ${result.total_num_output_tokens}
`;
}

function boundText(result: ThroughputResult, { outputTokensPerSecond, steps, deviceSeconds }: ThroughputBound): string {
  const share = (100 * result.output_tokens_per_second) / outputTokensPerSecond;
  return `Bound: ${outputTokensPerSecond.toFixed(2)} output tokens/s (${formatCount(steps)} steps take ${deviceSeconds.toFixed(2)} s on the device); achieved ${share.toFixed(1)} %
`;
}

/** Parses "512" and "100-1024". */
function range(text: string): Range {
  const [, least, most = least] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  const parsed = { least: Number(least), most: Number(most) };
  if (parsed.least >= 1 && parsed.most >= parsed.least && parsed.most <= 2 ** 31 - 1) return parsed;
  throw new InvalidArgumentError("Expected a whole number of at least 1, or a range such as 100-1024.");
}
