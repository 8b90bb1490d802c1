import type { RequestOutcome } from "../../../src/bench/serve/client";
import { type Goodput, serveMetrics } from "../../../src/bench/serve/metrics";

/** Times in seconds. */
function outcome(fields: Partial<RequestOutcome>): RequestOutcome {
  return {
    success: true,
    startTime: 100,
    queueTime: 0,
    ttft: 0.1,
    itls: [],
    latency: 0.1,
    promptTokens: 10,
    outputTokens: 1,
    cachedTokens: null,
    text: "",
    error: "",
    ...fields,
  };
}

const measure = (outcomes: readonly RequestOutcome[], duration = 2, goodput?: Goodput) =>
  serveMetrics(
    outcomes.map((each) => ({ outcome: each, promptTokens: 7 })),
    duration,
    goodput,
  );
const rounded = (values: readonly number[]) => values.map((value) => Math.round(value * 1e6) / 1e6);

const steady = outcome({ ttft: 0.2, itls: [0.1, 0.1, 0.2], latency: 0.6, outputTokens: 4 });
const slow = outcome({ startTime: 100.5, ttft: 0.5, itls: [0.5], latency: 1, outputTokens: 2, promptTokens: 20 });
const single = outcome({ startTime: 101, ttft: 0.3, latency: 0.3 });
const failed = outcome({ success: false, ttft: 0, latency: 0, outputTokens: null, error: "HTTP 500" });

test("TTFT and E2EL per request, TPOT without single tokens, ITL pooled; all in milliseconds", () => {
  const { samples } = measure([steady, slow, single, failed]);
  expect(rounded(samples.ttft)).toEqual([200, 500, 300]);
  expect(rounded(samples.e2el)).toEqual([600, 1000, 300]);
  expect(rounded(samples.tpot)).toEqual([133.333333, 500]);
  expect(rounded(samples.itl)).toEqual([100, 100, 200, 500]);
});

test("counts and throughputs leave failed requests out", () => {
  expect(measure([steady, slow, single, failed])).toMatchObject({
    completed: 3,
    failed: 1,
    totalInput: 40,
    totalOutput: 7,
    requestThroughput: 1.5,
    outputThroughput: 3.5,
    totalTokenThroughput: 23.5,
    inputLens: [10, 20, 10, 10],
    outputLens: [4, 2, 1, 0],
  });
});

test("several tokens in an output: TPOT counts tokens, ITL outputs, and the peak shares the tokens among the outputs", () => {
  const bundled = outcome({ ttft: 0.2, itls: [0.4], latency: 0.6, outputTokens: 8 });
  const { samples, maxOutputTokensPerS } = measure([bundled]);
  expect(rounded(samples.tpot)).toEqual([57.142857]);
  expect(rounded(samples.itl)).toEqual([400]);
  expect(maxOutputTokensPerS).toBe(8);
});

test("without usage the outputs count as tokens, and the prompt is what the data set says", () => {
  const silent = outcome({ itls: [0.1, 0.1], latency: 0.3, outputTokens: null, promptTokens: null });
  expect(measure([silent])).toMatchObject({ totalInput: 7, totalOutput: 3, withoutUsage: 1, outputLens: [3] });
  expect(serveMetrics([{ outcome: silent, promptTokens: null }], 1)).toMatchObject({ totalInput: 0 });
});

test.each<[Goodput, number]>([
  [{}, 3],
  [{ ttft: 300 }, 2],
  [{ ttft: 299 }, 1],
  [{ tpot: 200 }, 2], // a single token takes no time per token
  [{ ttft: 300, tpot: 100 }, 1],
  [{ e2el: 600 }, 2],
  [{ e2el: 100 }, 0],
])("goodput %j: %d requests", (goodput, good) => {
  expect(measure([steady, slow, single, failed], 2, goodput).requestGoodput).toBe(good / 2);
});

test("the peak is of seconds that begin with the first request", () => {
  // Outputs at 0.2, 0.9 and 1.1 s; at 1.5, 1.9 s; at 1.3 s.
  const outcomes = [
    outcome({ startTime: 50.4, ttft: 0.2, itls: [0.7, 0.2], latency: 1.1, outputTokens: 3 }),
    outcome({ startTime: 50.9, ttft: 1, itls: [0.4], latency: 1.4, outputTokens: 2 }),
    outcome({ startTime: 51.4, ttft: 0.3, latency: 0.3 }),
  ];
  expect(measure(outcomes).maxOutputTokensPerS).toBe(4);
  expect(measure(outcomes.slice(0, 1)).maxOutputTokensPerS).toBe(2);
});

test("peak concurrency: one that begins as another ends is not beside it", () => {
  const at = (startTime: number, latency: number) => outcome({ startTime, latency });
  expect(measure([at(0, 1), at(1, 1), at(2, 1)]).maxConcurrentRequests).toBe(1);
  expect(measure([at(0, 3), at(1, 1), at(1.5, 1), at(2.25, 1)]).maxConcurrentRequests).toBe(3);
});

test("cached tokens are null where no server reports them", () => {
  expect(measure([single, single]).totalCached).toBeNull();
  expect(measure([outcome({ cachedTokens: 5 }), outcome({ cachedTokens: 0 }), single]).totalCached).toBe(5);
});

test("no request succeeded: zeros, not NaN", () => {
  const { samples, ...figures } = measure([failed]);
  expect(Object.values(samples).flat()).toEqual([]);
  expect(figures).toMatchObject({
    completed: 0,
    requestThroughput: 0,
    maxOutputTokensPerS: 0,
    maxConcurrentRequests: 0,
  });
});
