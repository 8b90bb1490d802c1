export interface Percentiles {
  /** Times in the window. */
  readonly count: number;
  /** In milliseconds, like the others. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

const seconds = 60;
const shortestMs = 0.01;
/** From one bucket to the next: results are off by half of it at most. */
const ratio = 1.05;
/** Up to 17 minutes; what is longer counts as that. */
const buckets = 380;

const bucketOf = (ms: number) =>
  ms <= shortestMs ? 0 : Math.min(buckets - 1, Math.floor(Math.log(ms / shortestMs) / Math.log(ratio)));
const middleOf = (bucket: number) => shortestMs * ratio ** (bucket + 0.5);

/** Percentiles of the times of the last minute, in constant memory: a histogram for each second, in a ring. */
export class RecentTimes {
  readonly #counts = new Uint32Array(seconds * buckets);
  /** The second that each histogram is of. */
  readonly #secondOf = new Array<number>(seconds).fill(-1);

  /**
   * @param ms the time, `count` times
   * @param now milliseconds on a clock that does not go back
   */
  add(ms: number, count = 1, now = performance.now()): void {
    const second = Math.floor(now / 1000);
    const start = (second % seconds) * buckets;
    if (this.#secondOf[second % seconds] !== second) {
      this.#secondOf[second % seconds] = second;
      this.#counts.fill(0, start, start + buckets);
    }
    this.#counts[start + bucketOf(ms)]! += count;
  }

  /** Null where there was nothing in the last minute. */
  percentiles(now = performance.now()): Percentiles | null {
    const oldest = Math.floor(now / 1000) - seconds;
    const sums = new Float64Array(buckets);
    let count = 0;
    for (const [slot, second] of this.#secondOf.entries()) {
      if (second <= oldest) continue;
      for (let i = 0; i < buckets; i++) {
        const added = this.#counts[slot * buckets + i]!;
        sums[i]! += added;
        count += added;
      }
    }
    if (count === 0) return null;
    const at = (share: number) => {
      let left = Math.ceil(share * count);
      let bucket = 0;
      while (left > sums[bucket]!) left -= sums[bucket++]!;
      return middleOf(bucket);
    };
    return { count, p50: at(0.5), p90: at(0.9), p99: at(0.99) };
  }
}
