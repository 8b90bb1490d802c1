/** bench latency and bench throughput, on a model without weights. */
import { measureLatency } from "../../src/bench/latency";
import { measureThroughput, randomRequests } from "../../src/bench/throughput";
import { FakeLanguageModel } from "../helpers/fake-language-model";

test("latency: batches of equal requests, of which the warm-ups do not count", async () => {
  const model = new FakeLanguageModel({ delayMs: 1 });
  const sizes = { inputLen: 5, outputLen: 3, batchSize: 4, numItersWarmup: 2, numIters: 3 };
  const iterations: number[] = [];
  const result = await measureLatency(model, sizes, (i) => iterations.push(i));
  expect(iterations).toEqual([0, 1, 2, 3, 4]);
  expect(model.calls).toHaveLength(20);
  for (const { prompt, params } of model.calls) {
    expect(prompt).toHaveLength(5);
    expect(params).toMatchObject({ maxTokens: 3, ignoreEos: true, temperature: 1 });
  }
  expect(result.latencies).toHaveLength(3);
  for (const latency of result.latencies) expect(latency).toBeGreaterThan(0.002);
  expect(Object.keys(result.percentiles)).toEqual(["10", "25", "50", "75", "90", "99"]);
  expect(result.percentiles[50]).toBe(result.latencies.toSorted((a, b) => a - b)[1]);
  expect(result.avg_latency).toBeCloseTo(result.latencies.reduce((sum, value) => sum + value, 0) / 3, 9);
});

test("random requests: lengths from the whole range, the same for the same seed", () => {
  const options = { inputLen: { least: 3, most: 6 }, outputLen: { least: 1, most: 2 }, vocabSize: 8, seed: 1 };
  const requests = randomRequests(200, options);
  expect([...new Set(requests.map(({ prompt }) => prompt.length))].sort()).toEqual([3, 4, 5, 6]);
  expect([...new Set(requests.map(({ outputTokens }) => outputTokens))].sort()).toEqual([1, 2]);
  expect([...new Set(requests.flatMap(({ prompt }) => prompt))].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(randomRequests(200, options)).toEqual(requests);
  expect(randomRequests(200, { ...options, seed: 2 })).not.toEqual(requests);
});

test("throughput: all requests at once, greedy, to their full length", async () => {
  const model = new FakeLanguageModel({ delayMs: 1, naturalLength: 2 });
  const requests = [2, 4, 6].map((outputTokens) => ({ prompt: [1, 2, 3], outputTokens }));
  let seen = 0;
  const result = await measureThroughput(model, requests, (count) => {
    seen += count;
  });
  expect(result).toMatchObject({
    ...{ num_requests: 3, total_num_prompt_tokens: 9, total_num_output_tokens: 12, total_num_tokens: 21 },
    tokens_per_second: 21 / result.elapsed_time,
    requests_per_second: 3 / result.elapsed_time,
    output_tokens_per_second: 12 / result.elapsed_time,
  });
  expect(seen).toBe(12);
  for (const { params } of model.calls) expect(params).toMatchObject({ temperature: 0, ignoreEos: true });
});
