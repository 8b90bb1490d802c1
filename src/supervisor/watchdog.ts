import type { EngineStats } from "../engine/policy/request";

export interface WatchdogLimits {
  /** Silence that is taken for a hang, in ticks. */
  readonly silence: number;
  /** Time that one step may take, in ticks. */
  readonly step: number;
}

/**
 * Tells a process that works from one that hangs. Time is counted in ticks of the watcher's own timer, so that a watcher
 * that was itself stopped for a while (Ctrl-Z, a suspended machine) does not blame the process for it.
 */
export class Watchdog {
  private silent = 0;
  private inStep = 0;
  private steps = -1;
  private busy = false;

  constructor(private readonly limits: WatchdogLimits) {}

  /** Ticks since the last sign of life. */
  get silence(): number {
    return this.silent;
  }

  /** Any message came. */
  heard(): void {
    this.silent = 0;
  }

  /** The process said what it does: a step has ended, or there is none to wait for. */
  seen({ running, waiting, steps }: Pick<EngineStats, "running" | "waiting" | "steps">): void {
    const wasBusy = this.busy;
    this.busy = running + waiting > 0;
    if (!wasBusy || !this.busy || steps !== this.steps) this.inStep = 0;
    this.steps = steps;
  }

  /** What is wrong, or null. */
  tick(): "silent" | "step" | null {
    this.silent += 1;
    this.inStep += 1;
    if (this.silent > this.limits.silence) return "silent";
    return this.busy && this.inStep > this.limits.step ? "step" : null;
  }
}
