/** bench latency and bench throughput, on the bundled model. */
import { run } from "./run";

const cpu = ["--device", "cpu", "--threads", "2"];

test("bench latency prints vLLM's lines", async () => {
  const sizes = [
    "--input-len",
    "4",
    "--output-len",
    "3",
    "--batch-size",
    "2",
    "--num-iters",
    "2",
    "--num-iters-warmup",
    "1",
  ];
  const { code, stdout, stderr } = await run(["bench", "latency", ...cpu, ...sizes]);
  expect([code, stderr]).toEqual([0, ""]);
  const names = ["Avg latency", "Std latency", ...[10, 25, 50, 75, 90, 99].map((p) => `${p}% percentile latency`)];
  expect(stdout).toMatch(new RegExp(`^${names.map((name) => `${name}: \\d+\\.\\d{6} seconds\n`).join("")}$`));
});

test("bench latency --json", async () => {
  const sizes = ["--output-len", "3", "--num-iters", "2", "--num-iters-warmup", "0"];
  const { code, stdout } = await run(["bench", "latency", ...cpu, ...sizes, "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    ...{ bench: "latency", model: "storyteller-6m", input_len: 32, output_len: 3, batch_size: 8 },
    ...{
      avg_latency: expect.any(Number),
      std_latency: expect.any(Number),
      latencies: [expect.any(Number), expect.any(Number)],
    },
    percentiles: { 10: expect.any(Number), 99: expect.any(Number) },
  });
});

const few = ["--num-prompts", "5", "--input-len", "10-20", "--output-len", "4-6", "--max-num-seqs", "4"];

test("bench throughput prints vLLM's lines, and the bound", async () => {
  const { code, stdout, stderr } = await run(["bench", "throughput", ...cpu, ...few]);
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(
    /^Throughput: [\d.]+ requests\/s, [\d.]+ total tokens\/s, [\d.]+ output tokens\/s\nTotal num prompt tokens: {2}\d+\nTotal num output tokens: {2}\d+\nBound: [\d.]+ output tokens\/s \(\d+ steps take [\d.]+ s on the device\); achieved [\d.]+ %\n$/,
  );
});

test("bench throughput --json, with dummy weights", async () => {
  const { code, stdout } = await run(["bench", "throughput", ...cpu, ...few, "--load-format", "dummy", "--json"]);
  expect(code).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({
    ...{ bench: "throughput", model: "storyteller-6m", max_num_seqs: 4, num_requests: 5 },
    total_num_tokens: result.total_num_prompt_tokens + result.total_num_output_tokens,
    tokens_per_second: result.total_num_tokens / result.elapsed_time,
    bound_share: result.output_tokens_per_second / result.bound_output_tokens_per_second,
  });
  const sizes = (steps: readonly { size: number }[]) => steps.map(({ size }) => size);
  expect(sizes(result.step_times_ms.decode)).toEqual([1, 2, 4]);
  expect(sizes(result.step_times_ms.prefill).at(-1)).toBe(result.total_num_prompt_tokens);
});

test("bench throughput --no-bound", async () => {
  const { code, stdout } = await run(["bench", "throughput", ...cpu, ...few, "--no-bound", "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).not.toHaveProperty("bound_share");
});

test("bench startup compares a plain read and the first request with the last", async () => {
  const { code, stdout, stderr } = await run(["bench", "startup", ...cpu, "--requests", "2", "--input-len", "8"]);
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(
    /^weights +[\d.]+ s, .+\/s; a plain read reaches .+\/s \(\d+ %\)\npreparing +[\d.]+ s for .+\n\nfirst token +.+\nwhole answer +.+ \([\d.]+ times\)\n$/,
  );
});

test("bench startup --json, of dummy weights", async () => {
  const flags = ["--requests", "3", "--input-len", "8", "--output-len", "2", "--load-format", "dummy", "--json"];
  const { code, stdout } = await run(["bench", "startup", ...cpu, ...flags]);
  expect(code).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ bench: "startup", model: "storyteller-6m", read_share: null, checkpoint_bytes: 0 });
  expect(result.latency_ms).toHaveLength(3);
  expect(result.first_to_last).toBeCloseTo(result.latency_ms[0] / result.latency_ms[2]);
});
