import { EngineError } from "../../errors";
import { type DeviceKind, defaults, type EngineConfig, type EngineOptions, withSequences } from "./config";
import { PAGE_SIZE } from "./kv-pages";

/** Share of a host's free memory that states may take: the rest is other programs', and the page cache's. */
const HOST_STATE_SHARE = 0.5;

/**
 * Most of the memory for states that snapshots of the prefix cache take where nobody said how many: they may not cost many
 * running sequences. With the two for each sequence that are wanted at most, a fifth leaves five sixths of the sequences that
 * there would be, and a session's last two turns for a sixth of them at least.
 */
const SNAPSHOT_SHARE = 0.2;

/** Tokens that a sequence is expected to have, where it is decided how many run at once. */
const USUAL_LENGTH = 1024;

/** Bytes. */
export interface DeviceMemory {
  readonly kind: DeviceKind;
  readonly free: number;
  readonly total: number;
}

/** What the device's memory is used for, in bytes. */
export interface MemoryPlan {
  /** Weights as they are stored. */
  readonly weights: number;
  /** Activations, logits and metadata of the largest step. */
  readonly workspace: number;
  readonly stateBytesPerSeq: number;
  /** KV caches of all sequences; 0 for a model without attention. */
  readonly kvCache: number;
  /** States that the prefix cache keeps; their keys and values are in kvCache. */
  readonly snapshots: number;
  /** Those that it keeps in host memory, beside what is the device's. */
  readonly hostSnapshots: number;
  /** What is left of `total`, by others' use too. */
  readonly free: number;
  readonly total: number;
}

/** What the engine has of the device's memory for states, when `free` is left of it. Throws ERR_ARGUMENT. */
export function stateBudget({ kind, free, total }: DeviceMemory, options: EngineOptions): number {
  const { gpuMemoryUtilization = defaults.gpuMemoryUtilization } = options;
  if (!(gpuMemoryUtilization > 0 && gpuMemoryUtilization <= 1)) {
    const message = `gpuMemoryUtilization must be above 0 and at most 1, got ${gpuMemoryUtilization}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "gpuMemoryUtilization" });
  }
  return kind === "cpu" ? free * HOST_STATE_SHARE : Math.max(0, free - total * (1 - gpuMemoryUtilization));
}

/** How many states the host memory for them holds; none without a cache on the device. Throws ERR_ARGUMENT. */
export function hostSnapshots(
  { prefixCacheHostMemory = 0 }: EngineOptions,
  { numSnapshots }: Pick<EngineConfig, "numSnapshots">,
  snapshotBytes: number,
): number {
  if (!(prefixCacheHostMemory >= 0 && prefixCacheHostMemory < 2 ** 20)) {
    const message = `prefixCacheHostMemory must be GiB from 0 on, got ${prefixCacheHostMemory}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "prefixCacheHostMemory" });
  }
  if (numSnapshots === 0 || snapshotBytes === 0) return 0;
  return Math.floor((prefixCacheHostMemory * 2 ** 30) / snapshotBytes);
}

/** Bytes that sequences take of the budget. */
export interface SequenceBytes {
  readonly stateBytesPerSeq: number;
  readonly kvBytesPerToken: number;
  /** A state that the prefix cache keeps. */
  readonly snapshotBytes: number;
}

/**
 * `config` with the snapshots that a share of `budget` bytes holds, at most as many sequences as the rest holds the states and
 * usual lengths of, but at least one, and the pages that are then left; `note` says so if the sequences are fewer. Throws
 * ERR_MEMORY where the longest sequence has no room.
 */
export function fitMemory(
  config: EngineConfig,
  options: EngineOptions,
  memory: SequenceBytes & { kind: DeviceKind; budget: number },
): { config: EngineConfig; note: string | null } {
  const { kind, stateBytesPerSeq, kvBytesPerToken, snapshotBytes } = memory;
  const pageBytes = kvBytesPerToken * PAGE_SIZE;
  const longest = Math.ceil(config.maxModelLen / PAGE_SIZE) * pageBytes;
  const most = options.prefixCacheStates === undefined ? memory.budget * SNAPSHOT_SHARE : Number.POSITIVE_INFINITY;
  const share = Math.max(0, Math.min(most, memory.budget - stateBytesPerSeq - longest));
  const numSnapshots = Math.min(config.numSnapshots, Math.floor(share / Math.max(1, snapshotBytes)));
  const budget = memory.budget - numSnapshots * snapshotBytes;
  const usual = kvBytesPerToken * Math.min(config.maxModelLen, USUAL_LENGTH);
  const besideLongest = (budget - longest) / stateBytesPerSeq;
  const fitting = Math.max(1, Math.floor(Math.min(budget / (stateBytesPerSeq + usual), besideLongest)));
  const maxNumSeqs = Math.min(fitting, config.maxNumSeqs);
  if (kvBytesPerToken > 0 && budget < stateBytesPerSeq + longest) {
    const message = `a sequence of maxModelLen = ${config.maxModelLen} tokens takes ${mib(stateBytesPerSeq + longest)} of caches, and ${mib(budget)} are there; lower maxModelLen (--max-model-len)`;
    throw new EngineError("ERR_MEMORY", message, { subject: "maxModelLen" });
  }
  const allPages = maxNumSeqs * Math.ceil(config.maxModelLen / PAGE_SIZE);
  const numPages =
    kvBytesPerToken === 0 ? 0 : Math.min(allPages, Math.floor((budget - maxNumSeqs * stateBytesPerSeq) / pageBytes));
  if (fitting >= config.maxNumSeqs) return { config: { ...config, numPages, numSnapshots }, note: null };
  const note = `max_num_seqs is ${fitting} instead of ${config.maxNumSeqs}: a sequence takes ${mib(stateBytesPerSeq + usual)} of state, and ${mib(budget)} are there for states`;
  return {
    config: { ...config, ...withSequences(options, { ...config, kind }, fitting), numPages, numSnapshots },
    note,
  };
}

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
