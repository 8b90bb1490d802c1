import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, type RequestOutcome, type Target } from "./client";

/** A run of the load generator as plain data, so that it can be handed to a thread. */
export interface LoadPlan {
  readonly target: Target;
  /** Bodies of the requests, as JSON: they are made beforehand, so that making them delays no reading of the clock. */
  readonly bodies: readonly string[];
  /** Seconds after the start at which each one arrives, ascending. */
  readonly arrivals: readonly number[];
  /** Requests that run at once; null: no limit. */
  readonly maxConcurrency: number | null;
  /** Copies of the first request that are sent before, and not measured. */
  readonly numWarmups: number;
  readonly keepText: boolean;
  readonly timeoutMs: number;
}

export interface LoadResult {
  /** In the order of the bodies. */
  readonly outcomes: readonly RequestOutcome[];
  /** From the start to the end of the last request, in seconds. */
  readonly duration: number;
  /** By how much the generator's own event loop was late, in milliseconds. */
  readonly loopDelayP99Ms: number;
}

export interface LoadProgress {
  readonly phase: "warm-up" | "run";
  readonly done: number;
  readonly failed: number;
  readonly total: number;
}

const PROGRESS_MS = 100;
/** A timer of this many milliseconds measures the event loop; its own period is in what it measures. */
const LOOP_TIMER_MS = 1;

/** Sends all requests and waits for all answers. Failed ones are outcomes; failed warm-ups are passed over. */
export async function generateLoad(plan: LoadPlan, onProgress: (progress: LoadProgress) => void): Promise<LoadResult> {
  const client = new Client(plan.target, plan);
  try {
    const warmUps = new Array<string>(plan.numWarmups).fill(plan.bodies[0]!);
    await sendAll(client, warmUps, [], plan.maxConcurrency, (done) => onProgress({ ...done, phase: "warm-up" }));
    const delay = monitorEventLoopDelay({ resolution: LOOP_TIMER_MS });
    delay.enable();
    const start = performance.now();
    const outcomes = await sendAll(client, plan.bodies, plan.arrivals, plan.maxConcurrency, (done) =>
      onProgress({ ...done, phase: "run" }),
    );
    const duration = (performance.now() - start) / 1000;
    delay.disable();
    const loopDelayP99Ms = Math.max(0, delay.percentile(99) / 1e6 - LOOP_TIMER_MS);
    return { outcomes, duration, loopDelayP99Ms };
  } finally {
    client.close();
  }
}

async function sendAll(
  client: Client,
  bodies: readonly string[],
  arrivals: readonly number[],
  maxConcurrency: number | null,
  onProgress: (progress: Omit<LoadProgress, "phase">) => void,
): Promise<RequestOutcome[]> {
  let done = 0;
  let failed = 0;
  const report = () => onProgress({ done, failed, total: bodies.length });
  const timer = setInterval(report, PROGRESS_MS);
  const places = new Places(maxConcurrency ?? Number.POSITIVE_INFINITY);
  const start = performance.now();
  const running: Promise<RequestOutcome>[] = [];

  const run = async (body: string): Promise<RequestOutcome> => {
    const arrival = performance.now();
    await places.take();
    const outcome = await client.complete(body, arrival);
    places.give();
    done += 1;
    if (!outcome.success) failed += 1;
    return outcome;
  };

  try {
    for (const [i, body] of bodies.entries()) {
      const wait = start + (arrivals[i] ?? 0) * 1000 - performance.now();
      if (wait > 0) await sleep(wait);
      running.push(run(body));
    }
    return await Promise.all(running);
  } finally {
    clearInterval(timer);
    report();
  }
}

/** A counting semaphore; who waits longest is next. */
class Places {
  private readonly waiting: (() => void)[] = [];

  constructor(private free: number) {}

  async take(): Promise<void> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  give(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.free += 1;
    else next();
  }
}
