import type { EngineConfig } from "./config";
import { configuredProposer } from "./configured-proposer";
import { KvPages } from "./kv-pages";
import { PrefixCache } from "./prefix-cache";
import type { Proposer } from "./proposer";
import type { EngineStats } from "./request";
import { Scheduler } from "./scheduler";
import { CompositeMemory, type SequenceMemory } from "./sequence-memory";
import { StateSlots } from "./state-slots";
import type { StepCosts } from "./step-times";

export interface PlannerExtras {
  /** What guesses next tokens, where the config has guesses. Default: what it names. */
  readonly proposer?: Proposer | undefined;
  /** By which it is decided how many tokens are guessed. Default: as measured. */
  readonly stepCosts?: StepCosts | undefined;
}

/** What an engine decides with: the scheduler, over the slots, pages and prefixes of one device or group. */
export class Planner {
  readonly scheduler: Scheduler;
  /** Null where the config has no prefix cache. */
  readonly prefixes: PrefixCache | null;
  private readonly slots: StateSlots;
  private readonly pages: KvPages;

  constructor(config: EngineConfig, { proposer, stepCosts }: PlannerExtras) {
    const { speculative = null } = config;
    this.slots = new StateSlots(config.maxNumSeqs);
    this.pages = new KvPages(config.numPages);
    this.prefixes = config.numSnapshots > 0 ? new PrefixCache(config, this.pages) : null;
    const parts: SequenceMemory[] = [this.slots];
    if (this.prefixes !== null) parts.unshift(this.prefixes); // what is known takes no page of a new sequence
    if (config.numPages > 0) parts.push(this.pages);
    this.scheduler = new Scheduler(config, {
      memory: new CompositeMemory(parts),
      prefixes: this.prefixes,
      proposer: speculative && (proposer ?? configuredProposer(speculative)),
      stepCosts,
    });
  }

  stats() {
    const { scheduler, prefixes, slots, pages } = this;
    return {
      running: scheduler.numRunning,
      waiting: scheduler.numWaiting,
      slotsUsed: slots.numUsed,
      slotsTotal: slots.numSlots,
      pagesUsed: pages.numUsed,
      pagesTotal: pages.numPages,
      preemptions: scheduler.numPreemptions,
      prefixCacheQueries: prefixes?.queries ?? 0,
      prefixCacheHits: prefixes?.hits ?? 0,
      snapshotsUsed: prefixes?.tiers.numOnDevice ?? 0,
      snapshotsTotal: prefixes?.tiers.capacity ?? 0,
      hostSnapshotsUsed: prefixes?.tiers.numOnHost ?? 0,
      hostSnapshotsTotal: prefixes?.tiers.hostCapacity ?? 0,
      speculation: structuredClone(scheduler.speculation),
    } satisfies Partial<EngineStats>;
  }
}
