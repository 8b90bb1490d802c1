import type { RequestOutcome } from "./client";

/** What a table or a percentile can be asked for, in vLLM's words. */
export const metricNames = ["ttft", "tpot", "itl", "e2el", "client_queue_time"] as const;
export type MetricName = (typeof metricNames)[number];

export const goodputNames = ["ttft", "tpot", "e2el"] as const;
/** Most milliseconds that a good request takes; what is not named does not count. */
export type Goodput = Partial<Record<(typeof goodputNames)[number], number>>;

/** A request's outcome with what its data set says of it. */
export interface MeasuredRequest {
  readonly outcome: RequestOutcome;
  /** Tokens of the prompt, where the server does not report them; null: not known, and counted as none. */
  readonly promptTokens: number | null;
}

export interface ServeMetrics {
  readonly completed: number;
  readonly failed: number;
  /** Tokens, of successful requests only. */
  readonly totalInput: number;
  readonly totalOutput: number;
  /** Prompt tokens that came from the server's cache; null where it does not report them. */
  readonly totalCached: number | null;
  /** Successful requests whose server reported no usage: each of their outputs counts as a token. */
  readonly withoutUsage: number;
  /** Output tokens of each request in the order given; 0 for a failed one. */
  readonly outputLens: readonly number[];
  readonly inputLens: readonly number[];
  /** All per second of the whole duration. */
  readonly requestThroughput: number;
  readonly requestGoodput: number;
  readonly outputThroughput: number;
  readonly totalTokenThroughput: number;
  /** Tokens in the best second, counted from the first request. */
  readonly maxOutputTokensPerS: number;
  readonly maxConcurrentRequests: number;
  /** Milliseconds: one value per successful request; for itl one per gap; tpot leaves out answers of a single token. */
  readonly samples: Readonly<Record<MetricName, readonly number[]>>;
}

/** `duration` in seconds. */
export function serveMetrics(
  requests: readonly MeasuredRequest[],
  duration: number,
  goodput: Goodput = {},
): ServeMetrics {
  const inputLens = requests.map(({ outcome, promptTokens }) => outcome.promptTokens ?? promptTokens ?? 0);
  const outputLens = requests.map(({ outcome }) => outputTokens(outcome));
  const good = requests.flatMap(({ outcome }, i) =>
    outcome.success ? [{ outcome, input: inputLens[i]!, output: outputLens[i]! }] : [],
  );
  const outcomes = good.map(({ outcome }) => outcome);
  const tpots = good.map(({ outcome, output }) => timePerOutputToken(outcome, output));
  const totalInput = sum(good.map(({ input }) => input));
  const totalOutput = sum(good.map(({ output }) => output));
  const cached = outcomes.flatMap(({ cachedTokens }) => cachedTokens ?? []);
  const ms = (seconds: number) => seconds * 1000;
  const meetsGoodput = (outcome: RequestOutcome, tpot: number | null) =>
    ms(outcome.ttft) <= (goodput.ttft ?? Number.POSITIVE_INFINITY) &&
    ms(tpot ?? 0) <= (goodput.tpot ?? Number.POSITIVE_INFINITY) &&
    ms(outcome.latency) <= (goodput.e2el ?? Number.POSITIVE_INFINITY);
  return {
    completed: good.length,
    failed: requests.length - good.length,
    totalInput,
    totalOutput,
    totalCached: cached.length === 0 ? null : sum(cached),
    withoutUsage: outcomes.filter((outcome) => outcome.outputTokens === null).length,
    inputLens,
    outputLens,
    requestThroughput: good.length / duration,
    requestGoodput: outcomes.filter((outcome, i) => meetsGoodput(outcome, tpots[i]!)).length / duration,
    outputThroughput: totalOutput / duration,
    totalTokenThroughput: (totalInput + totalOutput) / duration,
    maxOutputTokensPerS: peakTokensPerSecond(outcomes),
    maxConcurrentRequests: peakConcurrency(outcomes),
    samples: {
      ttft: outcomes.map(({ ttft }) => ms(ttft)),
      tpot: tpots.flatMap((tpot) => (tpot === null ? [] : ms(tpot))),
      itl: outcomes.flatMap(({ itls }) => itls.map(ms)),
      e2el: outcomes.map(({ latency }) => ms(latency)),
      client_queue_time: outcomes.map(({ queueTime }) => ms(queueTime)),
    },
  };
}

/** By the server's count, else one for each output. */
function outputTokens({ success, outputTokens, itls }: RequestOutcome): number {
  return success ? outputTokens || itls.length + 1 : 0;
}

/** Seconds for each token after the first; null where there is none. */
function timePerOutputToken({ latency, ttft }: RequestOutcome, tokens: number): number | null {
  return tokens > 1 ? (latency - ttft) / (tokens - 1) : null;
}

/** The most tokens in a second of those counted from the first request on. An answer's tokens are shared by its outputs. */
function peakTokensPerSecond(outcomes: readonly RequestOutcome[]): number {
  const begin = least(outcomes.map(({ startTime }) => startTime));
  const seconds: number[] = [];
  for (const outcome of outcomes) {
    const perOutput = outputTokens(outcome) / (outcome.itls.length + 1);
    let time = outcome.startTime + outcome.ttft - begin;
    for (const gap of [0, ...outcome.itls]) {
      time += gap;
      const second = Math.floor(time);
      seconds[second] = (seconds[second] ?? 0) + perOutput;
    }
  }
  return seconds.reduce((most, tokens) => Math.max(most, tokens), 0);
}

/** Requests that ran at the same time; one that begins as another ends is not beside it. */
function peakConcurrency(outcomes: readonly RequestOutcome[]): number {
  const changes = outcomes.flatMap(({ startTime, latency }) => [
    { time: startTime, change: 1 },
    { time: startTime + latency, change: -1 },
  ]);
  changes.sort((a, b) => a.time - b.time || a.change - b.change);
  let running = 0;
  let most = 0;
  for (const { change } of changes) {
    running += change;
    most = Math.max(most, running);
  }
  return most;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const least = (values: readonly number[]) => values.reduce((min, value) => Math.min(min, value), Infinity);
