/** How long a step of some size takes on the device. */
export interface StepTime {
  /** Sequences of a decode step, tokens of a prefill. */
  readonly size: number;
  readonly ms: number;
}

/** Measured times, each list by ascending size and not empty; decodes from size 1 on. */
export interface MeasuredSteps {
  readonly decode: readonly StepTime[];
  readonly prefill: readonly StepTime[];
}

/** What a step of any composition takes on the device, from a few measured ones. */
export class StepTimes {
  private readonly decode: readonly StepTime[];
  private readonly prefill: readonly StepTime[];

  constructor({ decode, prefill }: MeasuredSteps) {
    this.decode = ascending(decode);
    this.prefill = ascending(prefill);
  }

  /**
   * Milliseconds. A step of prefills and decodes reads the matrices once: the decodes add what as many take above a single
   * one. That leaves out what they take from the matrix products of a large prefill, so a mixed step is rather too fast.
   */
  milliseconds({ decodes, prefillTokens }: { decodes: number; prefillTokens: number }): number {
    const decodeMs = decodes === 0 ? 0 : interpolate(this.decode, decodes);
    if (prefillTokens === 0) return decodeMs;
    const single = this.decode[0]!.ms;
    const prefillMs = Math.max(interpolate(this.prefill, prefillTokens), single);
    return prefillMs + Math.max(0, decodeMs - single);
  }
}

/** No step takes longer than a larger one could: where one was measured so, the larger one's time counts. */
function ascending(times: readonly StepTime[]): StepTime[] {
  let least = Number.POSITIVE_INFINITY;
  return times
    .map((_, i) => {
      const { size, ms } = times[times.length - 1 - i]!;
      least = Math.min(least, ms);
      return { size, ms: least };
    })
    .reverse();
}

/** Straight lines between the sizes; as at the smallest below it, and on along the last line above the largest. */
function interpolate(times: readonly StepTime[], size: number): number {
  const first = times[0]!;
  if (times.length === 1 || size <= first.size) return first.ms;
  const after = times.findIndex((time) => time.size >= size);
  const end = after < 0 ? times.length - 1 : after;
  const [a, b] = [times[end - 1]!, times[end]!];
  return a.ms + ((b.ms - a.ms) * (size - a.size)) / (b.size - a.size);
}
