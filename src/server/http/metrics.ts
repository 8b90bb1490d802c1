import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { EngineStats } from "../../engine/policy/request";
import type { GenerateParams, LanguageModel, ModelInfo } from "../../llm/types";
import type { GenerationMeter, GenerationObserver } from "./observer";
import { processMetrics } from "./process-metrics";
import { RecentTimes } from "./recent-times";
import { stepHistogram } from "./step-histogram";

/** vLLM's, so that its dashboards show what they show there. In seconds. */
const firstTokenBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const tokenBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const requestBuckets = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
const choiceBuckets = [1, 2, 5, 10, 20];

/** 1, 2, 5, 10 ... up to a number. */
function countBuckets(most: number): number[] {
  const buckets: number[] = [];
  for (let scale = 1; scale <= most; scale *= 10) buckets.push(scale, 2 * scale, 5 * scale);
  return buckets.filter((bucket) => bucket <= most);
}

/** What vLLM counts as blocks: pages, and the slots of a model that has no attention, each of any sequence as a whole. */
function cacheBlocks({ pagesUsed, pagesTotal, slotsUsed, slotsTotal }: EngineStats) {
  return pagesTotal > 0
    ? { used: pagesUsed, total: pagesTotal, areSlots: false }
    : { used: slotsUsed, total: slotsTotal, areSlots: true };
}

function readyEngines(model: LanguageModel): number {
  const { state, replicas } = model.health();
  return replicas?.ready ?? (state === "ready" ? 1 : 0);
}

/** What GET /metrics shows, in Prometheus' format; docs/server.md has the table of names. */
export class ServerMetrics implements GenerationObserver {
  /** Times of the last minute in milliseconds: from request to first token, and from one token to the next. */
  readonly recent = { firstToken: new RecentTimes(), betweenTokens: new RecentTimes() };
  readonly #registry = new Registry();
  readonly #prefix: string;
  readonly #firstToken: Histogram;
  readonly #betweenTokens: Histogram;
  readonly #perToken: Histogram;
  readonly #request: Histogram;
  readonly #queue: Histogram;
  readonly #prefill: Histogram;
  readonly #decode: Histogram;
  readonly #inference: Histogram;
  readonly #promptTokens: Counter;
  readonly #generatedTokens: Counter;
  readonly #promptSizes: Histogram;
  readonly #outputSizes: Histogram;
  readonly #choices: Histogram;
  readonly #limits: Histogram;
  readonly #ended: Counter<"finished_reason">;
  readonly #answers: Counter<"method" | "handler" | "status">;

  constructor(model: LanguageModel, prefix: string) {
    this.#prefix = prefix;
    // vLLM numbers the engines of a server; dashboards group by it.
    this.#registry.setDefaultLabels({ model_name: model.info.id, engine: "0" });
    const sizes = countBuckets(model.info.maxModelLen);
    this.#firstToken = this.#histogram("time_to_first_token_seconds", "From request to first token", firstTokenBuckets);
    this.#betweenTokens = this.#histogram("inter_token_latency_seconds", "From one token to the next", tokenBuckets);
    this.#perToken = this.#histogram(
      "request_time_per_output_token_seconds",
      "A request's mean time from token to token",
      tokenBuckets,
    );
    this.#request = this.#histogram("e2e_request_latency_seconds", "From request to last token", requestBuckets);
    this.#queue = this.#histogram("request_queue_time_seconds", "From request to its first step", requestBuckets);
    this.#prefill = this.#histogram("request_prefill_time_seconds", "From first step to first token", requestBuckets);
    this.#decode = this.#histogram("request_decode_time_seconds", "From first token to last token", requestBuckets);
    this.#inference = this.#histogram(
      "request_inference_time_seconds",
      "From first step to last token",
      requestBuckets,
    );
    this.#promptTokens = this.#counter("prompt_tokens_total", "Prompt tokens");
    this.#generatedTokens = this.#counter("generation_tokens_total", "Generated tokens");
    this.#promptSizes = this.#histogram("request_prompt_tokens", "Prompt tokens of a request", sizes);
    this.#outputSizes = this.#histogram("request_generation_tokens", "Generated tokens of a request", sizes);
    this.#choices = this.#histogram("request_params_n", "Choices asked for", choiceBuckets);
    this.#limits = this.#histogram("request_params_max_tokens", "max_tokens of a request", sizes);
    this.#ended = this.#counter("request_success_total", "Generations that ended, by reason", ["finished_reason"]);
    this.#answers = this.#counter("http_requests_total", "HTTP answers", ["method", "handler", "status"]);
    this.#gauges(model);
    this.#registry.registerMetric(stepHistogram(`${prefix}iteration_tokens_total`, () => model.stats()));
    this.#cacheConfig(model);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Those of the server, then those of the process that answers. */
  async text(): Promise<string> {
    const [server, ofProcess] = await Promise.all([this.#registry.metrics(), processMetrics().metrics()]);
    return server + ofProcess;
  }

  /** @param handler the route's pattern, not its URL: of those there is no end */
  answered(method: string, handler: string, status: number): void {
    this.#answers.inc({ method, handler, status });
  }

  requested(choices: number, { maxTokens }: GenerateParams): void {
    this.#choices.observe(choices);
    if (maxTokens !== undefined) this.#limits.observe(maxTokens);
  }

  generation(): GenerationMeter {
    const start = performance.now();
    let first = start;
    let last = start;
    let isFirst = true;
    let tokens = 0;
    let prompt = 0;
    let queue = 0;
    return {
      received: (count, { promptTokens, queuedMs }) => {
        const now = performance.now();
        if (isFirst) {
          isFirst = false;
          this.#promptTokens.inc(promptTokens);
          prompt = promptTokens;
          queue = queuedMs;
          this.#queue.observe(queue / 1000);
          this.#prefill.observe(Math.max(0, now - start - queue) / 1000);
          first = now;
          // Scores of a prompt come without a token.
          if (count > 0) this.#firstToken.observe((now - start) / 1000);
          if (count > 0) this.recent.firstToken.add(now - start);
        } else {
          for (let i = 0; i < count; i++) this.#betweenTokens.observe((now - last) / 1000 / count);
          this.recent.betweenTokens.add((now - last) / count, count);
        }
        last = now;
        tokens += count;
        this.#generatedTokens.inc(count);
      },
      ended: (reason) => {
        this.#ended.inc({ finished_reason: reason });
        if (reason === "error" || reason === "abort") return;
        this.#request.observe((performance.now() - start) / 1000);
        this.#decode.observe((last - first) / 1000);
        this.#inference.observe(Math.max(0, last - start - queue) / 1000);
        this.#promptSizes.observe(prompt);
        this.#outputSizes.observe(tokens);
        if (tokens > 1) this.#perToken.observe((last - first) / 1000 / (tokens - 1));
      },
    };
  }

  #gauges(model: LanguageModel): void {
    const ofEngine = (name: string, help: string, read: (stats: EngineStats) => number) =>
      this.#gauge(name, help, () => read(model.stats()));
    ofEngine("num_requests_running", "Sequences that run", (stats) => stats.running);
    ofEngine("num_requests_waiting", "Sequences that wait", (stats) => stats.waiting);
    ofEngine("state_slots_used", "State slots in use", (stats) => stats.slotsUsed);
    ofEngine("state_slots_total", "State slots", (stats) => stats.slotsTotal);
    ofEngine("kv_pages_used", "Pages of the KV cache in use", (stats) => stats.pagesUsed);
    ofEngine("kv_pages_total", "Pages of the KV cache", (stats) => stats.pagesTotal);
    ofEngine("kv_cache_usage_perc", "Share of the cache's blocks in use, at most 1", (stats) => {
      const { used, total } = cacheBlocks(stats);
      return used / Math.max(1, total);
    });
    ofEngine("engine_steps", "Steps since the server started", (stats) => stats.steps);
    const counted = (name: string, help: string, read: (stats: EngineStats) => number) =>
      this.#engineCounter(name, help, () => read(model.stats()));
    counted("prefix_cache_queries_total", "Prompt tokens looked up", (stats) => stats.prefixCacheQueries);
    counted("prefix_cache_hits_total", "Prompt tokens found", (stats) => stats.prefixCacheHits);
    counted("spec_decode_num_drafts_total", "Times that tokens were guessed", (stats) => stats.speculation.drafts);
    counted("spec_decode_num_draft_tokens_total", "Guessed tokens", (stats) => stats.speculation.draftTokens);
    counted("spec_decode_num_accepted_tokens_total", "Right ones", (stats) => stats.speculation.acceptedTokens);
    this.#acceptedByPosition(model);
    counted("num_preemptions_total", "Sequences that gave their memory to another one", (stats) => stats.preemptions);
    ofEngine("prefix_cache_states_used", "States that are kept", (stats) => stats.snapshotsUsed);
    ofEngine("prefix_cache_states_total", "States that may be kept", (stats) => stats.snapshotsTotal);
    ofEngine("prefix_cache_host_states_used", "States in host memory", (stats) => stats.hostSnapshotsUsed);
    ofEngine("prefix_cache_host_states_total", "States that it has room for", (stats) => stats.hostSnapshotsTotal);
    this.#gauge("replicas_ready", "Engines that take requests", () => readyEngines(model));
    this.#gauge("engine_restarts", "Times that the engine's process was started again", () => model.health().restarts);
  }

  /** How often the guess at each place was right: what one more guess is worth. */
  #acceptedByPosition(model: LanguageModel): void {
    new Counter({
      name: `${this.#prefix}spec_decode_num_accepted_tokens_per_pos_total`,
      help: "Right ones by their place, from 0",
      labelNames: ["position"],
      registers: [this.#registry],
      collect() {
        this.reset();
        const { acceptedPerPosition } = model.stats().speculation;
        for (const [position, count] of acceptedPerPosition.entries()) this.inc({ position }, count);
      },
    });
  }

  /** What there is of the cache, as labels, because dashboards find it there; the value is 1. */
  #cacheConfig(model: LanguageModel): void {
    const labelsOf = ({ dtype, stateDtype, kvCacheDtype, pageSize, maxModelLen, gpuMemoryUtilization }: ModelInfo) => {
      const { total, areSlots } = cacheBlocks(model.stats());
      return {
        block_size: areSlots ? maxModelLen : pageSize,
        num_gpu_blocks: total,
        is_attention_free: areSlots ? "True" : "False",
        cache_dtype: kvCacheDtype,
        mamba_cache_dtype: dtype,
        mamba_ssm_cache_dtype: stateDtype,
        gpu_memory_utilization: gpuMemoryUtilization,
      };
    };
    new Gauge({
      name: `${this.#prefix}cache_config_info`,
      help: "How the cache is laid out",
      labelNames: Object.keys(labelsOf(model.info)),
      registers: [this.#registry],
      collect() {
        this.reset(); // a series for each engine that was started would tell of caches that are gone
        this.set(labelsOf(model.info), 1);
      },
    });
  }

  #gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name: this.#prefix + name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(read());
      },
    });
  }

  /** What the engine counts from its start on. */
  #engineCounter(name: string, help: string, read: () => number): void {
    new Counter({
      name: this.#prefix + name,
      help,
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }

  #counter<Label extends string>(name: string, help: string, labelNames: readonly Label[] = []): Counter<Label> {
    return new Counter({ name: this.#prefix + name, help, labelNames, registers: [this.#registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: this.#prefix + name, help, buckets, registers: [this.#registry] });
  }
}
