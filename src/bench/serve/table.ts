import type { MetricName } from "./metrics";
import type { MetricSummary, ServeResult } from "./result";

const WIDTH = 50;

const headings: Readonly<Record<MetricName, readonly [heading: string, label: string]>> = {
  ttft: ["Time to First Token", "TTFT"],
  tpot: ["Time per Output Token (excl. 1st token)", "TPOT"],
  itl: ["Inter-token Latency", "ITL"],
  e2el: ["End-to-end Latency", "E2EL"],
  client_queue_time: ["Client-side Queueing", "Client Queue Time"],
};

/** A result in the layout of `vllm bench serve`, row by row; ends with a newline. */
export function serveTable({ metrics, description, load, options, summaries }: ServeResult): string {
  const { maxConcurrency, requestRate } = description;
  const rows = [
    ruler(" Serving Benchmark Result ", "="),
    count("Successful requests:", metrics.completed),
    count("Failed requests:", metrics.failed),
    ...(maxConcurrency === null ? [] : [count("Maximum request concurrency:", maxConcurrency)]),
    ...(Number.isFinite(requestRate) ? [measure("Request rate configured (RPS):", requestRate)] : []),
    measure("Benchmark duration (s):", load.duration),
    count("Total input tokens:", metrics.totalInput),
    count("Total generated tokens:", metrics.totalOutput),
    measure("Request throughput (req/s):", metrics.requestThroughput),
    ...(options.goodput === null ? [] : [measure("Request goodput (req/s):", metrics.requestGoodput)]),
    measure("Output token throughput (tok/s):", metrics.outputThroughput),
    measure("Peak output token throughput (tok/s):", metrics.maxOutputTokensPerS),
    measure("Peak concurrent requests:", metrics.maxConcurrentRequests),
    measure("Total token throughput (tok/s):", metrics.totalTokenThroughput),
    ...summaries.flatMap(summaryRows),
    "=".repeat(WIDTH),
  ];
  return `${rows.join("\n")}\n`;
}

function summaryRows({ name, mean, median, percentiles }: MetricSummary): string[] {
  const [heading, label] = headings[name];
  return [
    ruler(heading, "-"),
    measure(`Mean ${label} (ms):`, mean),
    measure(`Median ${label} (ms):`, median),
    ...percentiles.map(({ percent, value }) => measure(`P${percent} ${label} (ms):`, value)),
  ];
}

const row = (label: string, value: string) => `${label.padEnd(40)} ${value.padEnd(10)}`;
const count = (label: string, value: number) => row(label, String(value));
const measure = (label: string, value: number) => row(label, value.toFixed(2));

/** The text in the middle of a line of `fill`; where that is uneven, the right side has one more. */
function ruler(text: string, fill: string): string {
  const left = Math.floor((WIDTH - text.length) / 2);
  return text.padStart(left + text.length, fill).padEnd(WIDTH, fill);
}
