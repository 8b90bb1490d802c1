import type { Proposer } from "../../src/engine/policy/proposer";
import { Scheduler } from "../../src/engine/policy/scheduler";
import type { SchedulerConfig } from "../../src/engine/policy/scheduler-config";
import { StateSlots } from "../../src/engine/policy/state-slots";

/** A scheduler over slots that a test can see. */
export class SlotScheduler extends Scheduler {
  readonly slots: StateSlots;

  constructor(config: SchedulerConfig, proposer?: Proposer) {
    const slots = new StateSlots(config.maxNumSeqs);
    super(config, { memory: slots, ...(proposer === undefined ? {} : { proposer }) });
    this.slots = slots;
  }
}
