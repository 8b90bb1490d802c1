import type { LoadResult } from "./load";
import { type Goodput, type MetricName, metricNames, type ServeMetrics, serveMetrics } from "./metrics";
import { deviation, mean, percentile } from "./statistics";

/** What a run was, as its result says it. */
export interface RunDescription {
  readonly backend: string;
  readonly model: string;
  readonly tokenizer: string | null;
  readonly numPrompts: number;
  /** Requests per second, or Infinity. */
  readonly requestRate: number;
  readonly burstiness: number;
  readonly maxConcurrency: number | null;
  readonly rampUp: { readonly strategy: string; readonly start: number; readonly end: number } | null;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ReportOptions {
  readonly goodput: Goodput | null;
  readonly percentileMetrics: readonly MetricName[];
  readonly percentiles: readonly number[];
  /** With what each request took, said and gave. */
  readonly detailed: boolean;
}

/** Statistics of a metric, in milliseconds. */
export interface MetricSummary {
  readonly name: MetricName;
  readonly mean: number;
  readonly median: number;
  readonly std: number;
  readonly percentiles: readonly { readonly percent: number; readonly value: number }[];
}

/** A finished run: the figures, the ones asked for summarized, and the object that --json prints and --save-result writes. */
export class ServeResult {
  readonly metrics: ServeMetrics;
  readonly summaries: readonly MetricSummary[];

  /** `promptTokens`: see MeasuredRequest, in the order of the outcomes. */
  constructor(
    readonly description: RunDescription,
    readonly load: LoadResult,
    promptTokens: readonly (number | null)[],
    readonly options: ReportOptions,
  ) {
    const requests = load.outcomes.map((outcome, i) => ({ outcome, promptTokens: promptTokens[i] ?? null }));
    this.metrics = serveMetrics(requests, load.duration, options.goodput ?? {});
    this.summaries = metricNames
      .filter((name) => options.percentileMetrics.includes(name))
      // Without a limit nothing waits in the client.
      .filter((name) => name !== "client_queue_time" || description.maxConcurrency !== null)
      .map((name) => summarize(name, this.metrics.samples[name], options.percentiles));
  }

  /** Texts of failures, the most frequent first. */
  errors(): { readonly text: string; readonly count: number }[] {
    const counts = new Map<string, number>();
    for (const { success, error } of this.load.outcomes) {
      if (!success) counts.set(error, (counts.get(error) ?? 0) + 1);
    }
    return [...counts].map(([text, count]) => ({ text, count })).sort((a, b) => b.count - a.count);
  }

  /** With vLLM's keys and units, and three more: total_cached_tokens, requests_without_usage, client_loop_delay_p99_ms. */
  toJson(date: Date): Record<string, unknown> {
    const { description, load, metrics, options } = this;
    const { outcomes } = load;
    return {
      date: timestamp(date),
      endpoint_type: description.backend,
      backend: description.backend,
      label: null,
      model_id: description.model,
      tokenizer_id: description.tokenizer,
      num_prompts: description.numPrompts,
      ...description.metadata,
      request_rate: Number.isFinite(description.requestRate) ? description.requestRate : "inf",
      burstiness: description.burstiness,
      max_concurrency: description.maxConcurrency,
      ...(description.rampUp === null
        ? {}
        : {
            ramp_up_strategy: description.rampUp.strategy,
            ramp_up_start_rps: description.rampUp.start,
            ramp_up_end_rps: description.rampUp.end,
          }),
      duration: load.duration,
      completed: metrics.completed,
      failed: metrics.failed,
      total_input_tokens: metrics.totalInput,
      total_output_tokens: metrics.totalOutput,
      total_cached_tokens: metrics.totalCached,
      requests_without_usage: metrics.withoutUsage,
      request_throughput: metrics.requestThroughput,
      request_goodput: options.goodput === null ? null : metrics.requestGoodput,
      output_throughput: metrics.outputThroughput,
      total_token_throughput: metrics.totalTokenThroughput,
      latencies: outcomes.map(({ latency }) => latency),
      queue_times: outcomes.map(({ queueTime }) => queueTime),
      max_output_tokens_per_s: metrics.maxOutputTokensPerS,
      max_concurrent_requests: metrics.maxConcurrentRequests,
      client_loop_delay_p99_ms: load.loopDelayP99Ms,
      ...(options.detailed
        ? {
            input_lens: metrics.inputLens,
            output_lens: metrics.outputLens,
            ttfts: outcomes.map(({ ttft }) => ttft),
            itls: outcomes.map(({ itls }) => itls),
            start_times: outcomes.map(({ startTime }) => startTime),
            generated_texts: outcomes.map(({ text }) => text),
            errors: outcomes.map(({ error }) => error),
          }
        : {}),
      ...Object.fromEntries(this.summaries.flatMap(summaryKeys)),
    };
  }

  /** vLLM's name for the file of a result. */
  fileName(date: Date): string {
    const { backend, model, requestRate, maxConcurrency, rampUp } = this.description;
    const rate = Number.isFinite(requestRate) ? requestRate.toString() : "inf";
    const traffic = rampUp === null ? `${rate}qps` : `ramp-up-${rampUp.strategy}-${rampUp.start}qps-${rampUp.end}qps`;
    const limit = maxConcurrency === null ? "" : `-concurrency${maxConcurrency}`;
    return `${backend}-${traffic}${limit}-${model.split("/").at(-1)}-${timestamp(date)}.json`;
  }
}

function summarize(name: MetricName, values: readonly number[], percentiles: readonly number[]): MetricSummary {
  return {
    name,
    mean: mean(values),
    median: percentile(values, 50),
    std: deviation(values),
    percentiles: percentiles.map((percent) => ({ percent, value: percentile(values, percent) })),
  };
}

function summaryKeys({ name, mean, median, std, percentiles }: MetricSummary): [string, number][] {
  return [
    [`mean_${name}_ms`, mean],
    [`median_${name}_ms`, median],
    [`std_${name}_ms`, std],
    ...percentiles.map(({ percent, value }): [string, number] => [`p${percent}_${name}_ms`, value]),
  ];
}

/** As 20251231-235959, in local time. */
function timestamp(date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}
