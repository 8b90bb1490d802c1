/** When a process that ended is started again. */
export interface RestartLimits {
  /** Wait after the first failure; doubled after each further one. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** So many failures within the window are enough. A window without one sets the wait back. */
  readonly failures: number;
  readonly windowMs: number;
}

export const defaultRestartLimits: RestartLimits = {
  firstDelayMs: 500,
  maxDelayMs: 30_000,
  failures: 5,
  windowMs: 300_000,
};

/** Decides after each failure how long to wait, or to give up. No clock of its own. */
export class RestartPolicy {
  /** Times of the failures within the window. */
  private recent: number[] = [];
  /** Failures with less than a window between each two. */
  private streak = 0;

  constructor(private readonly limits: RestartLimits) {}

  /** Milliseconds to wait before the next start; null = give up. `nowMs` never goes back. */
  failed(nowMs: number): number | null {
    const { firstDelayMs, maxDelayMs, failures, windowMs } = this.limits;
    this.recent = this.recent.filter((time) => nowMs - time < windowMs);
    if (this.recent.length === 0) this.streak = 0;
    this.recent.push(nowMs);
    this.streak += 1;
    if (this.recent.length >= failures) return null;
    return Math.min(maxDelayMs, firstDelayMs * 2 ** (this.streak - 1));
  }
}
