import { resultOf } from "./fixtures";

const date = new Date(2026, 0, 2, 3, 4, 5);

/** Those that vLLM writes for the same options, and three of ours. */
const keys = `date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency
  duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput output_throughput
  total_token_throughput latencies queue_times max_output_tokens_per_s max_concurrent_requests mean_ttft_ms median_ttft_ms
  std_ttft_ms p99_ttft_ms mean_tpot_ms median_tpot_ms std_tpot_ms p99_tpot_ms mean_itl_ms median_itl_ms std_itl_ms p99_itl_ms
  total_cached_tokens requests_without_usage client_loop_delay_p99_ms`.split(/\s+/);

test("the JSON has vLLM's keys", () => {
  const json = resultOf().toJson(date);
  expect(Object.keys(json).sort()).toEqual([...keys].sort());
  expect(json).toMatchObject({
    ...{
      date: "20260102-030405",
      endpoint_type: "openai",
      request_rate: 4,
      request_goodput: null,
      max_concurrency: null,
    },
    ...{ completed: 1, failed: 1, total_input_tokens: 10, total_output_tokens: 3, total_cached_tokens: 4 },
    ...{ latencies: [1, 0], mean_ttft_ms: 500, median_itl_ms: 250, std_itl_ms: 0, p99_tpot_ms: 250 },
  });
});

test("what was asked for comes with it", () => {
  const json = resultOf(
    { metadata: { gpu: "H200" }, requestRate: Number.POSITIVE_INFINITY, maxConcurrency: 8 },
    {
      detailed: true,
      goodput: { ttft: 600 },
      percentileMetrics: ["e2el", "client_queue_time"],
      percentiles: [50, 99.9],
    },
  ).toJson(date);
  expect(json).toMatchObject({
    ...{ gpu: "H200", request_rate: "inf", max_concurrency: 8, request_goodput: 0.5, input_lens: [10, 10] },
    ...{ output_lens: [3, 0], ttfts: [0.5, 0], itls: [[0.25, 0.25], []], start_times: [5, 5] },
    ...{ generated_texts: ["abc", "abc"], errors: ["", "HTTP 500"], p50_e2el_ms: 1000, "p99.9_e2el_ms": 1000 },
    p50_client_queue_time_ms: 250,
  });
  expect(json).not.toHaveProperty("mean_ttft_ms");
});

test("file names are vLLM's", () => {
  expect(resultOf().fileName(date)).toBe("openai-4qps-model-20260102-030405.json");
  expect(resultOf({ requestRate: Number.POSITIVE_INFINITY, maxConcurrency: 8 }).fileName(date)).toBe(
    "openai-infqps-concurrency8-model-20260102-030405.json",
  );
  expect(resultOf({ rampUp: { strategy: "linear", start: 1, end: 9 } }).fileName(date)).toBe(
    "openai-ramp-up-linear-1qps-9qps-model-20260102-030405.json",
  );
});
