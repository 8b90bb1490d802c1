import { EngineError } from "../../errors";
import type { SpeculativeConfig } from "./speculative-config";

export interface SchedulerConfig {
  /** Sequences that run at once: the number of state slots. */
  readonly maxNumSeqs: number;
  /**
   * Tokens of one step, prefill and decode together; at least maxNumSeqs, so that every decode fits in every step. A multiple
   * of chunkSize on top of maxNumSeqs leaves none of it unused, because prefills are cut at multiples of the chunk.
   */
  readonly maxNumBatchedTokens: number;
  /** Tokens at whose multiples prefills are cut: a multiple of each chunk size of the model's layers. */
  readonly chunkSize: number;
  /** Whether prefills are cut nowhere else, and drawn tokens are always computed as decodes. Default false. */
  readonly deterministic?: boolean;
  /** Longest sequence in tokens, prompt and output together. */
  readonly maxModelLen: number;
  /** Requests that may wait; preempted sequences come on top. */
  readonly maxQueue: number;
  /** Decodes of a step from which on states lag behind them (state-lag.ts); absent = they never do. */
  readonly laggingRows?: number;
  /** Whether and how next tokens are guessed; absent or null = they are not. */
  readonly speculative?: SpeculativeConfig | null;
}

/** Tokens of a step so that every decode fits in every step, and with deterministic a chunk of a prefill too. */
export function leastBatchedTokens({
  maxNumSeqs,
  chunkSize,
  deterministic = false,
}: Pick<SchedulerConfig, "maxNumSeqs" | "chunkSize" | "deterministic">): number {
  return deterministic ? maxNumSeqs + chunkSize : maxNumSeqs;
}

/** Throws ERR_ARGUMENT for a size that is no whole number or too small. */
export function checkSchedulerConfig(config: SchedulerConfig): void {
  for (const [name, least] of minimums(config)) {
    if (Number.isInteger(config[name]) && config[name] >= least) continue;
    const message = `${name} must be a whole number of at least ${least}, got ${config[name]}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: name });
  }
}

type Size = Exclude<keyof SchedulerConfig, "deterministic" | "speculative" | "laggingRows">;

function minimums(config: SchedulerConfig): [Size, number][] {
  return [
    ["maxNumSeqs", 1],
    ["maxNumBatchedTokens", leastBatchedTokens(config)],
    ["chunkSize", 1],
    ["maxModelLen", 2],
    ["maxQueue", 1],
  ];
}
