import { EngineError } from "../../errors";
import type { ConstraintState } from "../../grammar/constraint";
import { DraftPlan } from "./draft-plan";
import type { PrefixCache } from "./prefix-cache";
import type { Proposer } from "./proposer";
import { insertByRank, remove } from "./rank";
import { type Drafts, type EngineRequest, type FinishReason, noSpeculation, type SpeculationStats } from "./request";
import { checkSchedulerConfig, type SchedulerConfig } from "./scheduler-config";
import { checkLengths, Sequence } from "./sequence";
import type { SequenceMemory } from "./sequence-memory";
import { maxDrawsOf } from "./speculative-config";
import { StateSlots } from "./state-slots";
import { type ScheduledBatch, StepPlan } from "./step-plan";
import type { StepCosts } from "./step-times";
import { StepsInFlight } from "./steps-in-flight";

/** One drawn token. */
export interface ScheduledOutput {
  readonly sequence: Sequence;
  /** -1 when the logits were not finite: the sequence has been ended and the request is to fail with ERR_NON_FINITE. */
  readonly token: number;
  readonly finishReason: FinishReason | null;
  /** Place among the step's drawn tokens: where its log probabilities are. */
  readonly logitsRow: number;
  /** The guesses of its row, on the first of its tokens. */
  readonly drafts?: Drafts;
}

/** Each has a default. */
export interface SchedulerParts {
  /** Running sequences hold a part of it, and so do ended ones that a step still uses. */
  readonly memory?: SequenceMemory;
  /** A part of the memory. */
  readonly prefixes?: PrefixCache | null;
  readonly proposer?: Proposer | null;
  /** By which it is decided how many tokens are guessed. Default: as measured. */
  readonly stepCosts?: StepCosts | undefined;
}

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
  /** Both in order of rank. A running sequence outranks every waiting one of its own priority. */
  private readonly running: Sequence[] = [];
  private readonly waiting: Sequence[] = [];
  private readonly alive = new Map<string, Sequence>();
  private readonly inFlight = new StepsInFlight();
  private arrivals = 0;
  /** Times that a running sequence gave its memory to another one. */
  numPreemptions = 0;
  private readonly memory: SequenceMemory;
  private readonly prefixes: PrefixCache | null;
  private readonly drafts: DraftPlan | null;

  constructor(config: SchedulerConfig, parts: SchedulerParts = {}) {
    checkSchedulerConfig(config);
    this.config = config;
    this.memory = parts.memory ?? new StateSlots(config.maxNumSeqs);
    this.prefixes = parts.prefixes ?? null;
    this.drafts = parts.proposer ? new DraftPlan(parts.proposer, config, parts.stepCosts) : null;
  }

  get numRunning(): number {
    return this.running.length;
  }

  get speculation(): SpeculationStats {
    return this.drafts?.counts ?? noSpeculation;
  }

  get numWaiting(): number {
    return this.waiting.length;
  }

  /**
   * Queues a request, with its constraint at its start. Throws ERR_REQUEST (empty prompt, maxTokens below 1, id in use), ERR_TOO_LONG
   * (the prompt leaves no room for a token) or ERR_OVERLOADED (maxQueue requests wait already).
   */
  add(request: EngineRequest, constraint: ConstraintState | null = null): Sequence {
    const { id } = request;
    const { maxModelLen, maxQueue } = this.config;
    if (this.alive.has(id)) throw new EngineError("ERR_REQUEST", `request id "${id}" is in use`, { subject: "id" });
    checkLengths(request, maxModelLen);
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
    this.inFlight.refuseWhereFull();
    const plan = new StepPlan(this.config);
    const prefills = this.grantDecodes(plan);
    let [next, head] = [0, 0];
    let admitting = true;
    for (;;) {
      const running = prefills[next];
      const waiting = admitting ? this.waiting[head] : undefined;
      if (waiting !== undefined && !running?.outranks(waiting)) {
        // Where one cannot be admitted the ones behind it wait too: overtaking would starve long prompts. One that waits for a
        // state of a running one is not delayed by them.
        if (this.prefixes?.follows(waiting)) head += 1;
        else admitting = this.admit(waiting, plan);
      } else if (running !== undefined) {
        next += 1;
        this.grantPrefill(running, plan);
      } else break;
    }
    const batch = plan.toBatch();
    if (batch !== null) this.inFlight.add(batch);
    return batch;
  }

  /**
   * Takes the result of a step: all drawn tokens in the order of the rows; those of a row count that come after right guesses
   * only. `ms`: what the step took since the end of the one before, where that is known. `ids`: the tokens of all rows as they
   * were computed, where the device made guesses. Throws ERR_ARGUMENT when they are too few or the step is not the oldest in flight.
   */
  commit(batch: ScheduledBatch, tokens: ArrayLike<number>, ms?: number, ids?: Int32Array | null): ScheduledOutput[] {
    if (tokens.length < batch.numDraws) {
      throw new EngineError("ERR_ARGUMENT", `the step draws ${batch.numDraws} tokens, got ${tokens.length}`);
    }
    this.prefixes?.store(batch.rows);
    this.settle(batch);
    if (ms !== undefined) this.drafts?.timed(batch, ms);
    const outputs: ScheduledOutput[] = [];
    let [end, endOfRow] = [0, 0];
    for (const row of batch.rows) {
      const { sequence, start, numTokens, draws } = row;
      const first = end;
      end += draws;
      endOfRow += numTokens;
      if (sequence.isFinished) continue;
      const drafts = ids?.subarray(endOfRow - row.drafts.length, endOfRow) ?? row.drafts;
      const count = draws > 1 ? this.drafts!.accepted(row, drafts, tokens, first) : draws;
      if (count > 0) sequence.lastAccepted = count - 1;
      sequence.numComputed = start + numTokens - (draws - count);
      for (let logitsRow = first; logitsRow < first + count && !sequence.isFinished; logitsRow++) {
        const token = tokens[logitsRow]!;
        const finishReason = token < 0 ? "abort" : sequence.append(token);
        if (finishReason !== null) this.finish(sequence, finishReason);
        const { proposed = 0 } = logitsRow === first ? row : {};
        const guessed = proposed === 0 ? {} : { drafts: { proposed, accepted: count - 1 } };
        outputs.push({ sequence, token, finishReason, logitsRow, ...guessed });
      }
    }
    return outputs;
  }

  /** Ends every sequence of a step that did not run to its end, because their states are undefined; returns the live ones. */
  fail(batch: ScheduledBatch): Sequence[] {
    this.prefixes?.discard(batch.rows);
    this.settle(batch);
    const live = batch.rows.map((row) => row.sequence).filter((sequence) => !sequence.isFinished);
    for (const sequence of live) this.finish(sequence, "abort");
    return live;
  }

  /** The step is over: the memory of sequences that were aborted meanwhile is free. */
  private settle(batch: ScheduledBatch): void {
    for (const sequence of this.inFlight.settle(batch)) if (sequence.isFinished) this.release(sequence);
  }

  /** One token, and guesses, for each running decode; returns the running prefills. */
  private grantDecodes(plan: StepPlan): Sequence[] {
    const prefills: Sequence[] = [];
    const decodes: Sequence[] = [];
    for (const sequence of this.running) {
      if (sequence.isPrefill) prefills.push(sequence);
      else if (!sequence.waitsForToken) decodes.push(sequence);
    }
    const prompts = prefills.length + Math.min(this.waiting.length, this.config.maxNumSeqs - this.running.length);
    const room = { tokens: plan.spare, draws: maxDrawsOf(this.config) - prompts };
    if (this.drafts?.waits(decodes, room)) return prefills;
    plan.follows = this.drafts?.follows(decodes) ?? false;
    plan.lags = decodes.length >= (this.config.laggingRows ?? Number.POSITIVE_INFINITY);
    const draftsOf = this.drafts?.of(decodes, room);
    for (const sequence of decodes) {
      if (plan.rests(sequence)) continue;
      const { tokens, proposed } = draftsOf?.(sequence) ?? {};
      const room = this.makeRoom(sequence, sequence.length + (tokens?.length ?? 0), plan);
      if (room) plan.giveDecode(sequence, tokens, proposed);
    }
    return prefills;
  }

  private grantPrefill(sequence: Sequence, plan: StepPlan): void {
    const numTokens = plan.rests(sequence) ? 0 : plan.fit(sequence);
    if (numTokens === 0) return;
    if (this.makeRoom(sequence, sequence.numScheduled + numTokens, plan)) this.givePrefill(sequence, numTokens, plan);
  }

  private givePrefill(sequence: Sequence, numTokens: number, plan: StepPlan): void {
    plan.givePrefill(sequence, numTokens, this.prefixes?.take(sequence, numTokens));
  }

  /**
   * Memory for a running sequence's first `upTo` tokens, if need be that of the ones ranked below it; false where it has to
   * wait: for the device to leave a victim's memory, or in the queue where nobody ranks below it.
   */
  private makeRoom(sequence: Sequence, upTo: number, plan: StepPlan): boolean {
    while (!this.memory.reserve(sequence, upTo)) {
      const victim = this.running.at(-1)!;
      if (victim.numInFlight > 0) {
        plan.rest(victim);
        return false;
      }
      this.preempt(victim, plan);
      if (victim === sequence) return false;
    }
    return true;
  }

  /** Gives a waiting sequence its memory and its first tokens; false when it has to wait. */
  private admit(sequence: Sequence, plan: StepPlan): boolean {
    if (plan.rests(sequence) || this.prefixes?.fetches(sequence)) return false;
    // All of the prompt, so that it is not preempted halfway.
    while (!this.memory.reserve(sequence, sequence.length)) {
      const victim = this.running.at(-1);
      if (victim === undefined || victim.request.priority <= sequence.request.priority) return false;
      if (victim.numInFlight > 0) {
        plan.rest(victim); // the device uses its memory; it goes when that step is committed
        return false;
      }
      if (plan.fit(sequence, victim) === 0) return false;
      this.preempt(victim, plan);
    }
    const numTokens = plan.fit(sequence);
    if (numTokens === 0) {
      this.memory.release(sequence);
      return false;
    }
    remove(this.waiting, sequence);
    insertByRank(this.running, sequence);
    this.givePrefill(sequence, numTokens, plan);
    return true;
  }

  /** Back to the queue; its state is dropped, and all its tokens are computed again later (see Sequence.numToPrefill). */
  private preempt(sequence: Sequence, plan: StepPlan): void {
    this.numPreemptions += 1;
    plan.rest(sequence);
    remove(this.running, sequence);
    this.release(sequence);
    sequence.numComputed = 0;
    sequence.numSettled = 0;
    sequence.isFollowed = true;
    if (!this.config.deterministic) sequence.numToPrefill = sequence.tokens.length;
    insertByRank(this.waiting, sequence);
  }

  private finish(sequence: Sequence, reason: FinishReason): void {
    sequence.finishReason = reason;
    this.alive.delete(sequence.id);
    remove(this.waiting, sequence);
    remove(this.running, sequence);
    this.release(sequence);
  }

  /** Not while a scheduled step uses the memory: the next owner's state would be overwritten. */
  private release(sequence: Sequence): void {
    if (sequence.numInFlight === 0) this.memory.release(sequence);
  }
}
