import type { Rng } from "./random";

/** When requests are sent. */
export interface Traffic {
  /** Requests per second; Infinity: all at once. Not used with a ramp. */
  readonly requestRate: number;
  /** Shape of the gamma distribution of the gaps: 1 is a Poisson process, less is burstier, more is more even. */
  readonly burstiness: number;
  /** The rate of the first and of the last request, in requests per second; null: constant. */
  readonly ramp: { readonly strategy: RampStrategy; readonly start: number; readonly end: number } | null;
}

export const rampStrategies = ["linear", "exponential"] as const;
export type RampStrategy = (typeof rampStrategies)[number];

/**
 * Seconds after the start at which each of `count` requests is sent, ascending. At a constant rate they are scaled so that the
 * last one is sent at count / rate exactly: runs of different seeds then offer the same load.
 */
export function arrivalTimes(count: number, traffic: Traffic, rng: Rng): number[] {
  const { burstiness, ramp } = traffic;
  const times: number[] = [];
  let time = 0;
  for (let i = 0; i < count; i++) {
    const rate = rateOf(i / Math.max(count - 1, 1), traffic);
    if (rate !== Number.POSITIVE_INFINITY) time += rng.gamma(burstiness) / (rate * burstiness);
    times.push(time);
  }
  if (ramp !== null || time === 0) return times;
  const scale = count / traffic.requestRate / time;
  return times.map((each) => each * scale);
}

/** `progress` goes from 0, the first request, to 1, the last one. */
function rateOf(progress: number, { requestRate, ramp }: Traffic): number {
  if (ramp === null) return requestRate;
  const { strategy, start, end } = ramp;
  return strategy === "linear" ? start + (end - start) * progress : start * (end / start) ** progress;
}
