import type { ScheduledBatch } from "./policy/step-plan";

/** How long requests wait until the first step that computes something of their prompts is launched. */
export class QueueTimes {
  /** By request id, as performance.now() has them. */
  private readonly arrivals = new Map<string, number>();
  /** In milliseconds. */
  private readonly waited = new Map<string, number>();

  arrived(id: string): void {
    this.arrivals.set(id, performance.now());
  }

  /** The rows of prompts are a step's first. */
  began({ rows, numPrefills }: ScheduledBatch): void {
    for (let i = 0; i < numPrefills; i++) {
      const { id } = rows[i]!.sequence;
      const arrival = this.arrivals.get(id);
      if (arrival === undefined) continue; // its prompt goes on, or is computed again
      this.arrivals.delete(id);
      this.waited.set(id, performance.now() - arrival);
    }
  }

  /** Milliseconds; of a request that a step began with. */
  of(id: string): number {
    return this.waited.get(id)!;
  }

  forget(id: string): void {
    this.arrivals.delete(id);
    this.waited.delete(id);
  }
}
