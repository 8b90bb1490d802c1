import type { StepTrace } from "../engine/step-trace";
import type { Stream } from "../tensor/stream";

/** What the host does for a step; the engine's loop is in exactly one of them at any time. */
export const hostParts = ["schedule", "metadata", "launch", "await", "output"] as const;
export type HostPart = (typeof hostParts)[number];

/** Microseconds that each part took, step by step, and the device's time between steps. */
export class StepClock implements StepTrace {
  readonly parts: Readonly<Record<HostPart, number[]>> = {
    schedule: [],
    metadata: [],
    launch: [],
    await: [],
    output: [],
  };
  private last = performance.now();
  private seen = 0;
  private marking = false;

  /** Counts `count` steps after the first `skip`. */
  constructor(
    private readonly skip: number,
    private readonly count: number,
  ) {}

  scheduled(): void {
    this.lap("schedule");
  }

  built(): void {
    this.lap("metadata");
  }

  begin(stream: Stream): void {
    this.marking = this.counts;
    if (this.marking) stream.mark();
  }

  end(stream: Stream): void {
    if (this.marking) stream.mark();
  }

  launched(): void {
    this.lap("launch");
    this.seen += 1;
  }

  received(): void {
    this.lap("await");
  }

  delivered(): void {
    this.lap("output");
  }

  private get counts(): boolean {
    return this.seen >= this.skip && this.seen < this.skip + this.count;
  }

  private lap(part: HostPart): void {
    const now = performance.now();
    if (this.counts) this.parts[part].push(1000 * (now - this.last));
    this.last = now;
  }
}

/** Share of the time from the first mark to the last that lies between steps. Marks are begin, end, begin, end ... */
export function idleShare(marks: ArrayLike<number>): number {
  let idle = 0;
  for (let i = 1; i + 1 < marks.length; i += 2) idle += marks[i + 1]! - marks[i]!;
  return idle / (marks[marks.length - 1]! - marks[0]!);
}
