import "../../helpers/allow-inject";
import { EngineError } from "../../../src/errors";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../../helpers/fake-language-model";
import { until } from "../../helpers/until";

const closers: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(closers.map((close) => close())));

function build(modelOptions: FakeLanguageModelOptions = {}, metricsPrefix = "mamba_serve:") {
  const model = new FakeLanguageModel(modelOptions);
  const app = buildApp(model, { metricsPrefix, drainTimeoutMs: 0 });
  closers.push(() => app.close());
  const post = (payload: object, path = "/v1/completions") =>
    app.inject({ method: "POST", url: path, payload: { prompt: "the river", ...payload } });
  return { model, app, post, scrape: () => scrape(app) };
}

const isOfProcess = (name: string) => /^(process|nodejs)_/.test(name);

/** Values by name and labels, without those that every series of the server has. */
async function scrape(app: ReturnType<typeof buildApp>): Promise<Map<string, number>> {
  const response = await app.inject("/metrics");
  expect(response.headers["content-type"]).toMatch(/^text\/plain/);
  const series = response.body.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    series.map((line) => {
      const [, name = "", labels = "", value] = /^(\S+?)(?:\{(.*)\})? (\S+)$/.exec(line)!;
      if (isOfProcess(name)) return [labels === "" ? name : `${name}{${labels}}`, Number(value)] as const;
      expect(labels).toContain('model_name="fake-mamba",engine="0"');
      const own = labels.replace(/,?model_name="fake-mamba",engine="0"/, "");
      return [own === "" ? name : `${name}{${own}}`, Number(value)] as const;
    }),
  );
}

it("counts tokens, choices and endings, streamed or not", async () => {
  const { post, scrape } = build();
  await post({ max_tokens: 4, n: 2, ignore_eos: true });
  await post({ max_tokens: 3, stream: true, ignore_eos: true });
  await post({ max_tokens: 400 });
  const found = await scrape();
  const values = (...names: string[]) => names.map((name) => found.get(`mamba_serve:${name}`));
  expect(values("prompt_tokens_total", "generation_tokens_total")).toEqual([8, 4 + 4 + 3 + 12]);
  expect(
    values('request_success_total{finished_reason="length"}', 'request_success_total{finished_reason="stop"}'),
  ).toEqual([3, 1]);
  expect(values("time_to_first_token_seconds_count", "e2e_request_latency_seconds_count")).toEqual([4, 4]);
  expect(values("inter_token_latency_seconds_count")).toEqual([3 + 3 + 2 + 11]);
  expect(values("request_time_per_output_token_seconds_count")).toEqual([4]);
  expect(values("request_generation_tokens_sum", "request_prompt_tokens_sum")).toEqual([23, 8]);
  expect(values("request_params_n_sum", "request_params_max_tokens_sum")).toEqual([4, 407]);
  expect(
    values('http_requests_total{method="POST",handler="/v1/completions",status="200"}', "num_requests_running"),
  ).toEqual([3, 0]);
});

it("counts the prompts that are scored and not continued", async () => {
  const { post, scrape } = build();
  await post({ text_1: "the river", text_2: [" a", " of stone"] }, "/score");
  await post({ echo: true, max_tokens: 0 });
  const found = await scrape();
  const values = (...names: string[]) => names.map((name) => found.get(`mamba_serve:${name}`));
  expect(values("prompt_tokens_total", "request_prompt_tokens_sum")).toEqual([3 + 4 + 2, 3 + 4 + 2]);
  expect(values("request_prefill_time_seconds_count", "request_queue_time_seconds_count")).toEqual([3, 3]);
  expect(values("generation_tokens_total", "time_to_first_token_seconds_count")).toEqual([0, 0]);
});

it("measures latencies that add up", async () => {
  const { post, scrape } = build({ delayMs: 20 });
  await post({ max_tokens: 4, ignore_eos: true });
  const found = await scrape();
  const sum = (name: string) => found.get(`mamba_serve:${name}_sum`)!;
  expect(sum("time_to_first_token_seconds")).toBeGreaterThan(0.015);
  expect(sum("inter_token_latency_seconds")).toBeGreaterThan(0.045);
  expect(sum("request_time_per_output_token_seconds")).toBeCloseTo(sum("inter_token_latency_seconds") / 3, 6);
  expect(sum("e2e_request_latency_seconds")).toBeGreaterThanOrEqual(
    sum("time_to_first_token_seconds") + sum("inter_token_latency_seconds"),
  );
});

it("shows what runs, and how it ended where it did not end well", async () => {
  const { model, app, post, scrape } = build({ delayMs: 5 });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as { port: number };
  const leaving = new AbortController();
  const body = JSON.stringify({ prompt: "the river", max_tokens: 4000, ignore_eos: true });
  const headers = { "content-type": "application/json" };
  const url = `http://127.0.0.1:${port}/v1/completions`;
  const cut = fetch(url, { method: "POST", headers, body, signal: leaving.signal }).catch(() => {});
  await until(() => model.running === 1);
  expect((await scrape()).get("mamba_serve:num_requests_running")).toBe(1);
  leaving.abort();
  await cut;
  await until(() => model.running === 0);
  const aborted = await scrape();
  expect(aborted.get('mamba_serve:request_success_total{finished_reason="abort"}')).toBe(1);
  expect(aborted.get("mamba_serve:e2e_request_latency_seconds_count")).toBe(0);

  const error = new EngineError("ERR_NON_FINITE", "x");
  const failing = build({ failure: { afterTokens: 1, error } });
  await failing.post({ max_tokens: 3 });
  await failing.post({ prompt: 5 });
  await failing.post({}, "/nope/with/any/path");
  const failed = await failing.scrape();
  expect(failed.get('mamba_serve:request_success_total{finished_reason="error"}')).toBe(1);
  const answers = [...failed].filter(([name]) => name.includes("http_requests_total"));
  expect(answers.map(([name]) => /handler="(.*)",status="(.*)"/.exec(name)!.slice(1))).toEqual([
    ["/v1/completions", "500"],
    ["/v1/completions", "400"],
    ["none", "404"],
  ]);
  expect((await post({ max_tokens: 1 })).statusCode).toBe(200);
});

it("takes the engine's counts of steps as they are", async () => {
  const found = await build().scrape();
  const bucket = (le: number | string) => found.get(`mamba_serve:iteration_tokens_total_bucket{le="${le}"}`);
  expect([bucket(1), bucket(8), bucket(16384), bucket("+Inf")]).toEqual([3, 7, 7, 7]);
  expect(found.get("mamba_serve:iteration_tokens_total_count")).toBe(7);
  expect(found.get("mamba_serve:num_preemptions_total")).toBe(5);
  const right = (position: number) =>
    found.get(`mamba_serve:spec_decode_num_accepted_tokens_per_pos_total{position="${position}"}`);
  expect([right(0), right(3), right(4)]).toEqual([10, 5, 0]);
  expect(found.get("mamba_serve:replicas_ready")).toBe(1);
});

it("splits a request's time into queue, prefill and decoding", async () => {
  const { model, post, scrape } = build({ delayMs: 20 });
  const generate = model.generate.bind(model);
  model.generate = (...args) => Object.assign(generate(...args), { queuedMs: 5 });
  await post({ max_tokens: 4, ignore_eos: true });
  const found = await scrape();
  const sum = (name: string) => found.get(`mamba_serve:${name}_seconds_sum`)!;
  expect(sum("request_queue_time")).toBe(0.005);
  expect(sum("request_prefill_time")).toBeCloseTo(sum("time_to_first_token") - 0.005, 5);
  expect(sum("request_inference_time")).toBeCloseTo(sum("request_prefill_time") + sum("request_decode_time"), 5);
  expect(sum("request_decode_time")).toBeGreaterThan(0.04);
});

it("tells how often the engine was started again", async () => {
  const { model, scrape } = build();
  model.currentHealth = { state: "ready", progress: null, restarts: 2 };
  expect((await scrape()).get("mamba_serve:engine_restarts")).toBe(2);
});

describe("the cache", () => {
  const config = (found: ReadonlyMap<string, number>) => {
    const series = [...found].filter(([name]) => name.startsWith("mamba_serve:cache_config_info"));
    expect(series.map(([, value]) => value)).toEqual([1]);
    return Object.fromEntries(
      [...series[0]![0].matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label, value]),
    );
  };
  const types = { cache_dtype: "auto", mamba_cache_dtype: "f32", mamba_ssm_cache_dtype: "f32" };

  it("is of pages where the model has attention", async () => {
    const { model, scrape } = build();
    model.pages = { pagesUsed: 3, pagesTotal: 12 };
    const found = await scrape();
    const values = (...names: string[]) => names.map((name) => found.get(`mamba_serve:${name}`));
    expect(values("kv_pages_used", "kv_pages_total", "kv_cache_usage_perc")).toEqual([3, 12, 0.25]);
    expect(config(found)).toEqual({
      ...types,
      ...{ block_size: "64", num_gpu_blocks: "12", is_attention_free: "False", gpu_memory_utilization: "0.9" },
    });
    model.pages = { pagesUsed: 0, pagesTotal: 8 };
    expect(config(await scrape()).num_gpu_blocks).toBe("8");
  });

  it("is of slots where it has none, as it is before the engine is there", async () => {
    const { model, scrape } = build();
    model.running = 16;
    const found = await scrape();
    expect(found.get("mamba_serve:kv_cache_usage_perc")).toBe(0.25);
    expect(config(found)).toEqual({
      ...types,
      ...{ block_size: "4096", num_gpu_blocks: "64", is_attention_free: "True", gpu_memory_utilization: "0.9" },
    });
  });
});

it("can have vLLM's names", async () => {
  const { post, scrape } = build({}, "vllm:");
  await post({ max_tokens: 2 });
  const names = [...(await scrape()).keys()].filter((name) => !isOfProcess(name));
  expect(names.every((name) => name.startsWith("vllm:"))).toBe(true);
  for (const name of ["num_requests_waiting", "generation_tokens_total", "inter_token_latency_seconds_count"]) {
    expect(names).toContain(`vllm:${name}`);
  }
});

it("has the default metrics of its process by the names that Prometheus' clients share, once for all servers", async () => {
  const { scrape } = build({}, "vllm:");
  const names = [...(await build().scrape()).keys()].filter(isOfProcess);
  expect(names).toEqual(
    expect.arrayContaining([
      "process_cpu_seconds_total",
      "process_start_time_seconds",
      "process_resident_memory_bytes",
      "process_open_fds",
      "nodejs_eventloop_lag_p99_seconds",
      "nodejs_heap_size_used_bytes",
      "nodejs_active_handles_total",
    ]),
  );
  expect([...(await scrape()).keys()].filter(isOfProcess)).toEqual(names);
});

it("has the event loop's lag of the time since the last scrape", async () => {
  const { scrape } = build();
  const maximum = async () => (await scrape()).get("nodejs_eventloop_lag_max_seconds");
  await maximum();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const until = performance.now() + 100;
  while (performance.now() < until);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(await maximum()).toBeGreaterThan(0.05);
});
