import { type Command, InvalidArgumentError, Option } from "commander";
import { type RampStrategy, rampStrategies } from "../bench/serve/arrivals";
import { type DatasetName, type DatasetSource, datasetNames } from "../bench/serve/dataset";
import { type Goodput, goodputNames, type MetricName, metricNames } from "../bench/serve/metrics";
import { type Backend, backends, endpointOf } from "../bench/serve/request-body";
import type { ServeBenchOptions } from "../bench/serve/run";
import { realNumber, wholeNumber } from "./numbers";

export interface ServeBenchFlags {
  readonly baseUrl: string;
  readonly backend: Backend;
  readonly endpoint?: string;
  readonly model?: string;
  readonly apiKey?: string;
  readonly ignoreEos?: true;
  readonly temperature?: number;
  readonly extraBody?: Readonly<Record<string, unknown>>;
  readonly requestTimeout: number;

  readonly datasetName: DatasetName;
  readonly datasetPath?: string;
  readonly numPrompts: number;
  readonly seed: number;
  readonly disableShuffle?: true;
  readonly tokenizer?: string;
  readonly vocabSize: number;
  readonly randomInputLen: number;
  readonly randomOutputLen: number;
  readonly randomRangeRatio: number;
  readonly randomPrefixLen: number;
  readonly prefixRepetitionPrefixLen: number;
  readonly prefixRepetitionSuffixLen: number;
  readonly prefixRepetitionNumPrefixes: number;
  readonly prefixRepetitionOutputLen: number;
  readonly customOutputLen: number;
  readonly sharegptOutputLen?: number;

  readonly requestRate: number;
  readonly burstiness: number;
  readonly maxConcurrency?: number;
  readonly numWarmups: number;
  readonly rampUpStrategy?: RampStrategy;
  readonly rampUpStartRps?: number;
  readonly rampUpEndRps?: number;

  readonly percentileMetrics: readonly MetricName[];
  readonly metricPercentiles: readonly number[];
  readonly goodput?: readonly string[];
  readonly json?: true;
  readonly saveResult?: true;
  readonly saveDetailed?: true;
  readonly resultDir?: string;
  readonly resultFilename?: string;
  readonly metadata?: readonly string[];
}

export function addServeBenchFlags(command: Command): void {
  addTargetFlags(command);
  addDatasetFlags(command);
  addTrafficFlags(command);
  addReportFlags(command);
}

const option = (flags: string, help: string) => new Option(flags, help);
const size = (flags: string, help: string, least = 1) => option(flags, help).argParser(wholeNumber(least, 2 ** 31 - 1));

function addTargetFlags(command: Command): void {
  const flags = [
    option("--base-url <url>", "the server").default("http://127.0.0.1:8000"),
    option("--backend <api>", "completions, or chat completions").choices(backends).default("openai"),
    option("--endpoint <path>", `(default: ${endpointOf.openai}, for chats ${endpointOf["openai-chat"]})`),
    option("--model <name>", "(default: the first one of /v1/models)"),
    option("--api-key <key>", "sent as a bearer token").env("OPENAI_API_KEY"),
    option(
      "--ignore-eos",
      "answers run to their full length, which not every server can; always on for random prompts",
    ),
    option("--temperature <t>", "(default: the server's)").argParser(realNumber(0, 100)),
    option("--extra-body <json>", "more fields of each request").argParser(jsonObject),
    option("--request-timeout <seconds>", "a request that takes longer has failed")
      .argParser(realNumber(0, 1e6, { open: true }))
      .default(21_600),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup("Server:"));
}

function addDatasetFlags(command: Command): void {
  const flags = [
    option("--dataset-name <name>", "where prompts come from").choices(datasetNames).default("random"),
    option("--dataset-path <file>", 'custom: JSON lines {"prompt": ..., "output_tokens": ...}; sharegpt: its JSON'),
    size("--num-prompts <n>", "requests").default(1000),
    size("--seed <n>", "of prompts, lengths and arrivals", 0).default(0),
    option("--disable-shuffle", "keep a file's order"),
    option("--tokenizer <dir>", "the served model's directory: random prompts then have no special tokens"),
    size("--vocab-size <n>", "random token ids are below this, without --tokenizer").default(1000),
    size("--random-input-len <n>", "prompt tokens", 0).default(1024),
    size("--random-output-len <n>", "new tokens").default(128),
    option("--random-range-ratio <r>", "lengths vary by this share to both sides")
      .argParser(realNumber(0, 0.999))
      .default(0),
    size("--random-prefix-len <n>", "tokens that all prompts begin with", 0).default(0),
    size("--prefix-repetition-prefix-len <n>", "tokens of a prefix").default(256),
    size("--prefix-repetition-suffix-len <n>", "tokens after it").default(256),
    size("--prefix-repetition-num-prefixes <n>", "different prefixes").default(10),
    size("--prefix-repetition-output-len <n>", "new tokens").default(128),
    size("--custom-output-len <n>", "new tokens where a line names no number").default(256),
    size("--sharegpt-output-len <n>", "new tokens (default: as many as the file's answer has)"),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup("Prompts:"));
}

function addTrafficFlags(command: Command): void {
  const flags = [
    option("--request-rate <r>", "requests per second; inf: all at once")
      .argParser(positiveOrInfinite)
      .default(Number.POSITIVE_INFINITY, "inf"),
    option("--burstiness <b>", "1: Poisson arrivals; less is burstier, more is more even")
      .argParser(realNumber(0, 1e6, { open: true }))
      .default(1),
    size("--max-concurrency <n>", "requests that run at once (default: no limit)"),
    size("--num-warmups <n>", "requests before, which do not count", 0).default(0),
    option("--ramp-up-strategy <s>", "the rate grows from start to end").choices(rampStrategies),
    option("--ramp-up-start-rps <r>", "requests per second").argParser(realNumber(0, 1e6, { open: true })),
    option("--ramp-up-end-rps <r>", "requests per second").argParser(realNumber(0, 1e6, { open: true })),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup("Arrivals:"));
}

function addReportFlags(command: Command): void {
  const metrics = `of ${metricNames.join(", ")}`;
  const flags = [
    option("--percentile-metrics <list>", metrics)
      .argParser(metricList)
      .default(["ttft", "tpot", "itl"], "ttft,tpot,itl"),
    option("--metric-percentiles <list>", "0 to 100").argParser(percentList).default([99], "99"),
    option("--goodput <slo...>", `most milliseconds of a good request, as ttft:500; of ${goodputNames.join(", ")}`),
    option("--json", "print the result as one JSON object"),
    option("--save-result", "write it to a file"),
    option("--save-detailed", "with the figures, the text and the error of each request"),
    option("--result-dir <dir>", "where the file goes (default: here)"),
    option("--result-filename <name>", "(default: backend, rate, model and date)"),
    option("--metadata <pair...>", "key=value, kept in the result"),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup("Report:"));
}

/** The flags as options of the benchmark, without a tokenizer; `refuse` is called where some do not go together. */
export function toServeBenchOptions(flags: ServeBenchFlags, refuse: (message: string) => never): ServeBenchOptions {
  const { baseUrl, endpoint, backend, temperature, resultDir, resultFilename } = flags;
  if (!/^https?:\/\/./.test(baseUrl)) refuse(`--base-url must begin with http:// or https://, got ${baseUrl}`);
  if (endpoint !== undefined && endpoint.endsWith("/chat/completions") !== (backend === "openai-chat")) {
    refuse(`--endpoint ${endpoint} does not go with --backend ${backend}`);
  }
  if (!flags.saveResult && (resultDir ?? resultFilename) !== undefined) {
    refuse("--result-dir and --result-filename need --save-result");
  }
  return {
    ...{ baseUrl, backend, endpoint: endpoint ?? null, model: flags.model ?? null, apiKey: flags.apiKey ?? null },
    ignoreEos: flags.ignoreEos === true || flags.datasetName === "random",
    extraBody: { ...(temperature === undefined ? {} : { temperature }), ...flags.extraBody },
    timeoutMs: flags.requestTimeout * 1000,
    dataset: toDatasetOptions(flags, refuse),
    tokenizerPath: flags.tokenizer ?? null,
    traffic: { requestRate: flags.requestRate, burstiness: flags.burstiness, ramp: toRamp(flags, refuse) },
    maxConcurrency: flags.maxConcurrency ?? null,
    numWarmups: flags.numWarmups,
    metadata: toMetadata(flags.metadata ?? [], refuse),
    goodput: flags.goodput === undefined ? null : toGoodput(flags.goodput, refuse),
    percentileMetrics: flags.percentileMetrics,
    percentiles: flags.metricPercentiles,
    detailed: flags.saveDetailed === true,
  };
}

function toDatasetOptions(flags: ServeBenchFlags, refuse: (message: string) => never): ServeBenchOptions["dataset"] {
  return {
    source: toDatasetSource(flags, refuse),
    numPrompts: flags.numPrompts,
    seed: flags.seed,
    shuffle: flags.disableShuffle !== true,
    vocabSize: flags.vocabSize,
    tokenizer: null,
  };
}

function toDatasetSource(flags: ServeBenchFlags, refuse: (message: string) => never): DatasetSource {
  const { datasetName: name, datasetPath: path } = flags;
  if (name === "custom" || name === "sharegpt") {
    if (path === undefined) return refuse(`--dataset-name ${name} needs a file: give --dataset-path`);
    return name === "custom"
      ? { name, path, outputLen: flags.customOutputLen }
      : { name, path, outputLen: flags.sharegptOutputLen ?? null };
  }
  if (path !== undefined) refuse(`--dataset-path is the file of sharegpt and custom, not of --dataset-name ${name}`);
  if (name === "random") {
    return {
      name,
      inputLen: flags.randomInputLen,
      outputLen: flags.randomOutputLen,
      rangeRatio: flags.randomRangeRatio,
      prefixLen: flags.randomPrefixLen,
    };
  }
  return {
    name,
    prefixLen: flags.prefixRepetitionPrefixLen,
    suffixLen: flags.prefixRepetitionSuffixLen,
    numPrefixes: flags.prefixRepetitionNumPrefixes,
    outputLen: flags.prefixRepetitionOutputLen,
  };
}

function toRamp(flags: ServeBenchFlags, refuse: (message: string) => never): ServeBenchOptions["traffic"]["ramp"] {
  const { rampUpStrategy: strategy, rampUpStartRps: start, rampUpEndRps: end } = flags;
  if (strategy === undefined && start === undefined && end === undefined) return null;
  if (strategy === undefined || start === undefined || end === undefined) {
    return refuse("--ramp-up-strategy, --ramp-up-start-rps and --ramp-up-end-rps go together");
  }
  if (Number.isFinite(flags.requestRate)) refuse("a ramp takes the place of --request-rate: give one of them");
  return { strategy, start, end };
}

function toGoodput(pairs: readonly string[], refuse: (message: string) => never): Goodput {
  const goodput: Goodput = {};
  for (const pair of pairs) {
    const [, given, limit] = /^(\w+):(\d+(?:\.\d+)?)$/.exec(pair) ?? [];
    const name = goodputNames.find((each) => each === given);
    if (name === undefined) {
      return refuse(`--goodput takes NAME:MILLISECONDS, NAME of ${goodputNames.join(", ")}, got ${pair}`);
    }
    goodput[name] = Number(limit);
  }
  return goodput;
}

function toMetadata(pairs: readonly string[], refuse: (message: string) => never): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      return at > 0 ? [pair.slice(0, at), pair.slice(at + 1)] : refuse(`--metadata takes KEY=VALUE, got ${pair}`);
    }),
  );
}

function positiveOrInfinite(text: string): number {
  return text === "inf" ? Number.POSITIVE_INFINITY : realNumber(0, 1e6, { open: true })(text);
}

function metricList(text: string): MetricName[] {
  return text.split(",").map((part) => {
    const name = metricNames.find((each) => each === part.trim());
    if (name === undefined) throw new InvalidArgumentError(`Expected names of ${metricNames.join(", ")}.`);
    return name;
  });
}

function percentList(text: string): number[] {
  return text.split(",").map(realNumber(0, 100));
}

function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw new InvalidArgumentError("Expected a JSON object.");
}
