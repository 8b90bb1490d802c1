import { EngineError } from "../errors";
import type { Device } from "../tensor/device";
import type { ModelRunner, StepResult } from "./model-runner";
import type { Transfer } from "./policy/snapshot-tiers";
import type { ScheduledBatch } from "./policy/step-plan";
import type { StepTrace } from "./step-trace";

/** What runs a model's steps: on one device, or a share of each on several. */
export type Runner = Pick<
  ModelRunner,
  "arenaBytes" | "trace" | "warmUp" | "captureAll" | "step" | "transfer" | "launchOf" | "free"
>;

/**
 * The runners of a model's ranks as one. Each is given every step: they meet in the step's collective ops, and draw the same
 * tokens of the same logits with the same noise, so that none waits for what another drew.
 */
export class GroupRunner implements Runner {
  private readonly first: ModelRunner;

  constructor(
    private readonly runners: readonly ModelRunner[],
    private readonly devices: readonly Device[],
  ) {
    this.first = runners[0]!;
  }

  /** What the rank takes that needs most. */
  get arenaBytes(): number {
    return Math.max(...this.runners.map(({ arenaBytes }) => arenaBytes));
  }

  get trace(): StepTrace | null {
    return this.first.trace;
  }

  /** It is told of rank 0. */
  set trace(trace: StepTrace | null) {
    this.first.trace = trace;
  }

  async warmUp(): Promise<void> {
    await this.onAll((runner) => runner.warmUp());
  }

  captureAll(): void {
    for (const runner of this.runners) runner.captureAll();
  }

  step(batch: ScheduledBatch): Promise<StepResult> {
    return this.onAll((runner) => runner.step(batch));
  }

  transfer(transfers: readonly Transfer[]): Promise<void>[] {
    const ofRanks = this.runners.map((runner) => runner.transfer(transfers));
    return transfers.map(async (_, i) => {
      await Promise.all(ofRanks.map((copies) => copies[i]));
    });
  }

  launchOf(batch: ScheduledBatch): () => void {
    const launches = this.runners.map((runner) => runner.launchOf(batch));
    return () => {
      for (const launch of launches) launch();
    };
  }

  free(): void {
    for (const runner of this.runners) runner.free();
  }

  /** What rank 0 gives. A rank that fails ends the group, since others wait for it; what is thrown is why it failed. */
  private async onAll<T>(run: (runner: ModelRunner) => Promise<T>): Promise<T> {
    const runs = this.runners.map(run);
    for (const each of runs) each.catch(() => this.devices[0]!.failGroup());
    const settled = await Promise.allSettled(runs);
    const failures = settled.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    if (failures.length > 0) throw failures.find((error) => !isLost(error)) ?? failures[0];
    return runs[0]!;
  }
}

const isLost = (error: unknown) => EngineError.is(error) && error.code === "ERR_DEVICE_LOST";
