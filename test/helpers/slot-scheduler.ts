import { Scheduler, type SchedulerParts } from "../../src/engine/policy/scheduler";
import type { SchedulerConfig } from "../../src/engine/policy/scheduler-config";
import { StateSlots } from "../../src/engine/policy/state-slots";

/** A scheduler over slots that a test can see. */
export class SlotScheduler extends Scheduler {
  readonly slots: StateSlots;

  constructor(config: SchedulerConfig, parts: Pick<SchedulerParts, "proposer" | "stepCosts"> = {}) {
    const slots = new StateSlots(config.maxNumSeqs);
    super(config, { memory: slots, ...parts });
    this.slots = slots;
  }
}

/** Steps of any length take as long, so that guesses are as long as may be. */
export const free = { observe: () => {}, knows: () => true, ratio: () => 1 };
