import { serveTable } from "../../../src/bench/serve/table";
import { resultOf } from "./fixtures";

// Written out as Python formats it: "{:<40} {:<10}" and "{s:{c}^{n}}" with 50 columns.
test("the table is vLLM's", () => {
  const table = serveTable(
    resultOf(
      { maxConcurrency: 8 },
      { goodput: { ttft: 600 }, percentileMetrics: ["ttft", "tpot", "itl", "e2el", "client_queue_time"] },
    ),
  );
  expect(table.split("\n").map((line) => line.trimEnd())).toEqual([
    "============ Serving Benchmark Result ============",
    "Successful requests:                     1",
    "Failed requests:                         1",
    "Maximum request concurrency:             8",
    "Request rate configured (RPS):           4.00",
    "Benchmark duration (s):                  2.00",
    "Total input tokens:                      10",
    "Total generated tokens:                  3",
    "Request throughput (req/s):              0.50",
    "Request goodput (req/s):                 0.50",
    "Output token throughput (tok/s):         1.50",
    "Peak output token throughput (tok/s):    2.00",
    "Peak concurrent requests:                1.00",
    "Total token throughput (tok/s):          6.50",
    "---------------Time to First Token----------------",
    "Mean TTFT (ms):                          500.00",
    "Median TTFT (ms):                        500.00",
    "P99 TTFT (ms):                           500.00",
    "-----Time per Output Token (excl. 1st token)------",
    "Mean TPOT (ms):                          250.00",
    "Median TPOT (ms):                        250.00",
    "P99 TPOT (ms):                           250.00",
    "---------------Inter-token Latency----------------",
    "Mean ITL (ms):                           250.00",
    "Median ITL (ms):                         250.00",
    "P99 ITL (ms):                            250.00",
    "----------------End-to-end Latency----------------",
    "Mean E2EL (ms):                          1000.00",
    "Median E2EL (ms):                        1000.00",
    "P99 E2EL (ms):                           1000.00",
    "---------------Client-side Queueing---------------",
    "Mean Client Queue Time (ms):             250.00",
    "Median Client Queue Time (ms):           250.00",
    "P99 Client Queue Time (ms):              250.00",
    "==================================================",
    "",
  ]);
  expect(table.split("\n")[1]).toHaveLength(51);
});
