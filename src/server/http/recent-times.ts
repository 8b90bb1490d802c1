import { createHistogram } from "node:perf_hooks";

export interface Percentiles {
  /** Times in the window. */
  readonly count: number;
  /** In milliseconds, like the others. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

const seconds = 60;
/** A histogram holds whole microseconds, to within 1 %. What is out of its 1 us to 17 minutes counts as the nearest in it. */
const shortestUs = 1;
const longestUs = 2 ** 30;
const emptyHistogram = () => createHistogram({ lowest: shortestUs, highest: longestUs, figures: 2 });

/** Percentiles of the times of the last minute, in constant memory: a histogram for each second, in a ring. */
export class RecentTimes {
  readonly #ring = Array.from({ length: seconds }, () => ({ second: -1, times: emptyHistogram() }));

  /**
   * @param ms the time, `count` times
   * @param now milliseconds on a clock that does not go back
   */
  add(ms: number, count = 1, now = performance.now()): void {
    const second = Math.floor(now / 1000);
    const slot = this.#ring[second % seconds]!;
    if (slot.second !== second) {
      slot.second = second;
      slot.times.reset();
    }
    const us = Math.min(Math.max(Math.round(ms * 1000), shortestUs), longestUs);
    for (let i = 0; i < count; i++) slot.times.record(us);
  }

  /** Null where there was nothing in the last minute. */
  percentiles(now = performance.now()): Percentiles | null {
    const oldest = Math.floor(now / 1000) - seconds;
    const all = emptyHistogram();
    for (const { second, times } of this.#ring) if (second > oldest) all.add(times);
    if (all.count === 0) return null;
    const at = (percent: number) => all.percentile(percent) / 1000;
    return { count: all.count, p50: at(50), p90: at(90), p99: at(99) };
  }
}
