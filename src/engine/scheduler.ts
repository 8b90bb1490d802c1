import { EngineError } from "../errors";
import type { EngineRequest, FinishReason } from "./request";
import type { Sequence } from "./sequence";
import { NO_SLOT, StateSlots } from "./state-slots";

export interface SchedulerConfig {
  /** Sequences that run at once: the number of state slots. */
  readonly maxNumSeqs: number;
  /** Tokens of one step, prefill and decode together; at least maxNumSeqs, so that every decode fits in every step. */
  readonly maxNumBatchedTokens: number;
  /** Tokens of an SSD chunk. */
  readonly chunkSize: number;
  /** Longest sequence in tokens, prompt and output together. */
  readonly maxModelLen: number;
  /** Requests that may wait; preempted sequences come on top. */
  readonly maxQueue: number;
}

/** Part of one sequence in one step. Fixed when scheduled: the sequence itself may move on before the row is used. */
export interface ScheduledRow {
  readonly sequence: Sequence;
  /** Tokens in the state before the step: the row is tokens [start, start + numTokens) of the sequence. */
  readonly start: number;
  readonly numTokens: number;
  /** Whether the row takes the sequence's last token, so that the next one is drawn. */
  readonly samples: boolean;
}

export interface ScheduledBatch {
  /** Prefill rows, then decode rows (one token on top of a state). */
  readonly rows: readonly ScheduledRow[];
  readonly numPrefills: number;
  /** Tokens of all rows. */
  readonly numTokens: number;
}

/** One drawn token. */
export interface ScheduledOutput {
  readonly sequence: Sequence;
  /** -1 when the logits were not finite: the sequence has been ended and the request is to fail with ERR_NON_FINITE. */
  readonly token: number;
  readonly finishReason: FinishReason | null;
  /** Place among the step's drawn tokens: where its log probabilities are. */
  readonly logitsRow: number;
}

/**
 * Who computes how many tokens in the next step. Pure policy: plain data, no handles, no clock.
 *
 *   while ((batch = scheduler.schedule()) !== null) scheduler.commit(batch, run(batch));
 */
export class Scheduler {
  readonly slots: StateSlots;
  readonly config: SchedulerConfig;

  constructor(config: SchedulerConfig) {
    this.config = config;
    this.slots = new StateSlots(config.maxNumSeqs);
  }

  get numRunning(): number {
    throw new Error("pending");
  }

  get numWaiting(): number {
    throw new Error("pending");
  }

  /**
   * Queues a request. Throws ERR_REQUEST (empty prompt, maxTokens below 1, id in use), ERR_TOO_LONG (the prompt leaves no
   * room for a token) or ERR_OVERLOADED (maxQueue requests wait already).
   */
  add(_request: EngineRequest): Sequence {
    throw new Error("pending");
  }

  /**
   * Ends a request wherever it is: its finishReason becomes "abort", and a token of it that is being computed is dropped.
   * False when no such request is alive.
   */
  abort(_id: string): boolean {
    throw new Error("pending");
  }

  /** The next step, or null when there is nothing to do. Each one must be committed (or failed) before the next. */
  schedule(): ScheduledBatch | null {
    throw new Error("pending");
  }

  /**
   * Takes the result of a step: `tokens` holds the drawn token of each row that samples, in the order of the rows (padding
   * after them is ignored).
   */
  commit(_batch: ScheduledBatch, _tokens: ArrayLike<number>): ScheduledOutput[] {
    throw new Error(`pending ${NO_SLOT} ${EngineError}`);
  }

  /** Ends every sequence of a step that did not run to its end, because their states are undefined; returns the live ones. */
  fail(_batch: ScheduledBatch): Sequence[] {
    throw new Error("pending");
  }
}
