import { EngineError } from "../../errors";
import type { ConstraintState } from "../../grammar/constraint";
import type { EngineRequest, FinishReason } from "./request";
import { Sequence } from "./sequence";
import { NO_SLOT, StateSlots } from "./state-slots";
import { type ScheduledBatch, StepPlan } from "./step-plan";

export interface SchedulerConfig {
  /** Sequences that run at once: the number of state slots. */
  readonly maxNumSeqs: number;
  /**
   * Tokens of one step, prefill and decode together; at least maxNumSeqs, so that every decode fits in every step. A multiple
   * of chunkSize on top of maxNumSeqs leaves none of it unused, because prefills are cut at multiples of the chunk.
   */
  readonly maxNumBatchedTokens: number;
  /** Tokens of an SSD chunk. */
  readonly chunkSize: number;
  /** Longest sequence in tokens, prompt and output together. */
  readonly maxModelLen: number;
  /** Requests that may wait; preempted sequences come on top. */
  readonly maxQueue: number;
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

/** Steps that may be scheduled and not committed: a row can take a token that the step right before it draws. */
export const MAX_STEPS_IN_FLIGHT = 2;

/**
 * Who computes how many tokens in the next step. Pure policy: plain data, no handles, no clock.
 *
 *   while ((batch = scheduler.schedule()) !== null) scheduler.commit(batch, run(batch));
 *
 * Steps may overlap: the next one can be scheduled before the last one is committed. A sequence that turns out to have ended
 * then has a row too many, whose token is dropped.
 *
 * Every running decode gets its token first, so a prefill never delays one. Prefills share the rest of the budget in the
 * order of their rank (priority, then arrival), the waiting ones among them; the first always advances, so none starves
 * within its priority. A waiting request takes the slot of the lowest-ranked running one if that has a lower priority.
 */
export class Scheduler {
  readonly config: SchedulerConfig;
  /** One slot per running sequence, and per ended one that a step still uses. */
  readonly slots: StateSlots;
  /** Both in order of rank. A running sequence outranks every waiting one of its own priority. */
  private readonly running: Sequence[] = [];
  private readonly waiting: Sequence[] = [];
  private readonly alive = new Map<string, Sequence>();
  /** The steps that are scheduled and not committed, in order. */
  private readonly inFlight: ScheduledBatch[] = [];
  private arrivals = 0;

  constructor(config: SchedulerConfig) {
    for (const [name, least] of minimums(config)) {
      if (Number.isInteger(config[name]) && config[name] >= least) continue;
      const message = `${name} must be a whole number of at least ${least}, got ${config[name]}`;
      throw new EngineError("ERR_ARGUMENT", message, { subject: name });
    }
    this.config = config;
    this.slots = new StateSlots(config.maxNumSeqs);
  }

  get numRunning(): number {
    return this.running.length;
  }

  get numWaiting(): number {
    return this.waiting.length;
  }

  /**
   * Queues a request, with its constraint at its start. Throws ERR_REQUEST (empty prompt, maxTokens below 1, id in use), ERR_TOO_LONG (the prompt leaves no
   * room for a token) or ERR_OVERLOADED (maxQueue requests wait already).
   */
  add(request: EngineRequest, constraint: ConstraintState | null = null): Sequence {
    const { id, prompt, maxTokens } = request;
    const { maxModelLen, maxQueue } = this.config;
    if (this.alive.has(id)) throw new EngineError("ERR_REQUEST", `request id "${id}" is in use`, { subject: "id" });
    if (prompt.length === 0) throw new EngineError("ERR_REQUEST", "the prompt has no token", { subject: "prompt" });
    if (!(maxTokens >= 1)) {
      throw new EngineError("ERR_REQUEST", `maxTokens must be at least 1, got ${maxTokens}`, { subject: "maxTokens" });
    }
    if (prompt.length >= maxModelLen) {
      const message = `the prompt has ${prompt.length} tokens; the context of ${maxModelLen} needs room for one more`;
      throw new EngineError("ERR_TOO_LONG", message, { subject: "prompt" });
    }
    if (this.waiting.length >= maxQueue) {
      throw new EngineError("ERR_OVERLOADED", `${maxQueue} requests are waiting already; try again later`);
    }
    const sequence = new Sequence(request, this.arrivals, maxModelLen, constraint);
    this.arrivals += 1;
    this.alive.set(id, sequence);
    insertByRank(this.waiting, sequence);
    return sequence;
  }

  /**
   * Ends a request wherever it is: its finishReason becomes "abort", and a token of it that is being computed is dropped.
   * False when no such request is alive.
   */
  abort(id: string): boolean {
    const sequence = this.alive.get(id);
    if (sequence === undefined) return false;
    this.finish(sequence, "abort");
    return true;
  }

  /**
   * The next step, or null when there is nothing to do until a step in flight is committed, or at all. Throws ERR_ARGUMENT
   * where MAX_STEPS_IN_FLIGHT are not committed (or failed).
   */
  schedule(): ScheduledBatch | null {
    if (this.inFlight.length >= MAX_STEPS_IN_FLIGHT) {
      throw new EngineError("ERR_ARGUMENT", `${this.inFlight.length} steps are not committed`);
    }
    const plan = new StepPlan(this.config.maxNumBatchedTokens, this.config.chunkSize);
    const prefills: Sequence[] = [];
    for (const sequence of this.running) {
      if (sequence.isPrefill) prefills.push(sequence);
      else if (!sequence.waitsForToken) plan.give(sequence, 1);
    }
    let next = 0;
    let admitting = true;
    for (;;) {
      const running = prefills[next];
      const waiting = admitting ? this.waiting[0] : undefined;
      if (waiting !== undefined && !running?.outranks(waiting)) {
        // Where one cannot be admitted the ones behind it wait too: overtaking would starve long prompts.
        admitting = this.admit(waiting, plan);
      } else if (running !== undefined) {
        next += 1;
        const preempted = running.slot === NO_SLOT;
        if (!preempted) plan.give(running, plan.fit(running));
      } else break;
    }

    const batch = plan.toBatch();
    if (batch !== null) this.launch(batch);
    return batch;
  }

  /**
   * Takes the result of a step: `tokens` holds the drawn token of each row that samples, in the order of the rows (padding
   * after them is ignored). Throws ERR_ARGUMENT when they are too few or the step is not the oldest in flight.
   */
  commit(batch: ScheduledBatch, tokens: ArrayLike<number>): ScheduledOutput[] {
    if (tokens.length < batch.numLogits) {
      throw new EngineError("ERR_ARGUMENT", `the step draws ${batch.numLogits} tokens, got ${tokens.length}`);
    }
    this.settle(batch);
    const outputs: ScheduledOutput[] = [];
    let numDrawn = 0;
    for (const { sequence, start, numTokens, samples } of batch.rows) {
      const logitsRow = numDrawn;
      if (samples) numDrawn += 1;
      if (sequence.isFinished) continue;
      sequence.numComputed = start + numTokens;
      if (!samples) continue;
      const token = tokens[logitsRow]!;
      const finishReason = token < 0 ? "abort" : sequence.append(token);
      if (finishReason !== null) this.finish(sequence, finishReason);
      outputs.push({ sequence, token, finishReason, logitsRow });
    }
    return outputs;
  }

  /** Ends every sequence of a step that did not run to its end, because their states are undefined; returns the live ones. */
  fail(batch: ScheduledBatch): Sequence[] {
    this.settle(batch);
    const live = batch.rows.map((row) => row.sequence).filter((sequence) => !sequence.isFinished);
    for (const sequence of live) this.finish(sequence, "abort");
    return live;
  }

  private launch(batch: ScheduledBatch): void {
    this.inFlight.push(batch);
    let draw = 0;
    for (const { sequence, numTokens, samples } of batch.rows) {
      sequence.numInFlight += numTokens;
      if (!samples) continue;
      sequence.numPending += 1;
      sequence.lastDraw = draw++;
    }
  }

  /** The step is over: its rows use their slots no longer, and those of sequences that were aborted meanwhile are free. */
  private settle(batch: ScheduledBatch): void {
    if (batch !== this.inFlight[0]) throw new EngineError("ERR_ARGUMENT", "this step is not the oldest in flight");
    this.inFlight.shift();
    for (const { sequence, numTokens, samples } of batch.rows) {
      sequence.numInFlight -= numTokens;
      if (samples) sequence.numPending -= 1;
      if (sequence.isFinished) this.releaseSlot(sequence);
    }
  }

  /** Gives the head of the queue a slot and its first tokens; false when it has to wait. */
  private admit(sequence: Sequence, plan: StepPlan): boolean {
    const victim = this.slots.numFree > 0 ? undefined : this.running.at(-1);
    if (this.slots.numFree === 0 && !(victim && victim.request.priority > sequence.request.priority)) return false;
    if (victim !== undefined && victim.numInFlight > 0) {
      plan.takeBack(victim); // the device uses its state; it rests now, and goes when that step is committed
      return false;
    }
    const numTokens = plan.fit(sequence, victim);
    if (numTokens === 0) return false;
    if (victim !== undefined) this.preempt(victim, plan);
    this.waiting.shift();
    insertByRank(this.running, sequence);
    sequence.slot = this.slots.allocate();
    plan.give(sequence, numTokens);
    return true;
  }

  /** Back to the queue; its state is dropped, and all its tokens are computed again later. */
  private preempt(sequence: Sequence, plan: StepPlan): void {
    plan.takeBack(sequence);
    remove(this.running, sequence);
    this.releaseSlot(sequence);
    sequence.numComputed = 0;
    insertByRank(this.waiting, sequence);
  }

  private finish(sequence: Sequence, reason: FinishReason): void {
    sequence.finishReason = reason;
    this.alive.delete(sequence.id);
    remove(this.waiting, sequence);
    remove(this.running, sequence);
    this.releaseSlot(sequence);
  }

  /** Not while a scheduled step uses the slot: the next owner's state would be overwritten. */
  private releaseSlot(sequence: Sequence): void {
    if (sequence.slot === NO_SLOT || sequence.numInFlight > 0) return;
    this.slots.release(sequence.slot);
    sequence.slot = NO_SLOT;
  }
}

function minimums(config: SchedulerConfig): [keyof SchedulerConfig, number][] {
  return [
    ["maxNumSeqs", 1],
    ["maxNumBatchedTokens", config.maxNumSeqs],
    ["chunkSize", 1],
    ["maxModelLen", 2],
    ["maxQueue", 1],
  ];
}

function insertByRank(list: Sequence[], sequence: Sequence): void {
  let index = list.length;
  while (index > 0 && sequence.outranks(list[index - 1]!)) index -= 1;
  list.splice(index, 0, sequence);
}

function remove(list: Sequence[], sequence: Sequence): void {
  const index = list.indexOf(sequence);
  if (index >= 0) list.splice(index, 1);
}
