import type { Proposer } from "./proposer";
import { noSpeculation } from "./request";
import type { SchedulerConfig } from "./scheduler-config";
import type { Sequence } from "./sequence";
import { guessesOnDevice, maxDrawsOf, rowTokensOf } from "./speculative-config";
import { noDrafts, type ScheduledBatch, type ScheduledRow } from "./step-plan";
import { type StepCosts, StepTimes } from "./step-times";

/** Guesses of a row. */
export interface RowDrafts {
  readonly tokens: readonly number[];
  /** How many of them were proposed; the others only fill the row up to the length of its step. */
  readonly proposed: number;
}

/** What a step has left for its decodes. */
export interface DecodeRoom {
  readonly tokens: number;
  /** Besides those of prompts that may end in it. */
  readonly draws: number;
}

/** What may be gained in a row: the odds that a guess is right, given that those before it were, and how many there are. */
interface Chance {
  readonly odds: number;
  readonly guesses: number;
}

/** Chance of a guess that it is worth finding out for what a step of its length takes. */
const LEAST_CHANCE = 0.05;

/** Steps in which guesses do not pay until a drafter is left behind: a time may be wrong once. */
const UNPAID_STEPS = 8;

const none: RowDrafts = { tokens: noDrafts, proposed: 0 };

/**
 * What the decodes of a step guess. All of them are made equally long, because one kernel takes all rows: as long as gives the
 * most tokens a second, by how often guesses were right and by what steps of each length took. That is one token each where
 * guesses do not pay, which is a step as without any: so at a load where the device has no time to spare.
 */
export class DraftPlan {
  readonly counts = { ...noSpeculation, acceptedPerPosition: [...noSpeculation.acceptedPerPosition] };

  private readonly onDevice: boolean;
  /** Steps in a row in which guesses did not pay. */
  private numUnpaid = 0;

  constructor(
    private readonly proposer: Proposer,
    private readonly config: SchedulerConfig,
    private readonly costs: StepCosts = new StepTimes(),
  ) {
    this.onDevice = guessesOnDevice(config);
  }

  /** A step took so many milliseconds, from the end of the one before. */
  timed({ rows, numPrefills }: ScheduledBatch, ms: number): void {
    if (numPrefills === 0) this.costs.observe(rows.length, rows[0]!.numTokens, ms);
  }

  /**
   * Whether the decodes wait for the tokens of the step in flight, because it pays to guess what follows those. Not where one of
   * them could go on: each step would find another that waits.
   */
  waits(decodes: readonly Sequence[], room: DecodeRoom): boolean {
    if (decodes.some(({ numPending }) => numPending === 0)) return false;
    const guesses = this.longest(decodes, room);
    if (guesses < 1) return false;
    return this.pays(decodes, guesses, (sequence) => this.proposer.odds(sequence));
  }

  /**
   * Whether what guesses on the device has to take the step's tokens along: where guesses pay now or when a pause is over, and a
   * few steps longer, because a sequence that went without is guessed for no more.
   */
  follows(decodes: readonly Sequence[]): boolean {
    if (!this.onDevice) return true;
    const { length } = decodes;
    const pays = this.pays(decodes, this.roomOf(length), (sequence) => this.proposer.prospect(sequence));
    this.numUnpaid = pays || !this.costs.knows(length, 1) ? 0 : this.numUnpaid + 1;
    return this.numUnpaid <= UNPAID_STEPS;
  }

  private pays(decodes: readonly Sequence[], guesses: number, oddsOf: (sequence: Sequence) => number): boolean {
    const chances = decodes.filter((sequence) => this.takesDrafts(sequence));
    return (
      this.bestLength(
        decodes.length,
        chances.map((sequence) => ({ odds: oddsOf(sequence), guesses })),
      ) > 0
    );
  }

  private takesDrafts({ takesDrafts, isFollowed }: Sequence): boolean {
    return takesDrafts && (isFollowed || !this.onDevice);
  }

  /** The guesses of each of `decodes`, which have the room together. */
  of(decodes: readonly Sequence[], room: DecodeRoom): (sequence: Sequence) => RowDrafts {
    const most = this.longest(decodes, room);
    if (most < 1) return () => none;
    const proposals = new Map<Sequence, readonly number[]>();
    const chances: Chance[] = [];
    for (const sequence of decodes) {
      if (sequence.numPending > 0 || !this.takesDrafts(sequence)) continue;
      const odds = this.proposer.odds(sequence);
      const tokens = odds > 0 ? this.proposer.propose(sequence, most) : noDrafts;
      if (tokens.length === 0) continue;
      proposals.set(sequence, tokens);
      chances.push({ odds, guesses: tokens.length });
    }
    const length = this.bestLength(decodes.length, chances);
    if (length === 0) return () => none;
    return (sequence) => {
      const tokens = (proposals.get(sequence) ?? noDrafts).slice(0, length);
      const filler = new Array<number>(length - tokens.length).fill(0);
      return { tokens: [...tokens, ...filler], proposed: tokens.length };
    };
  }

  /** How many of the row's drawn tokens count: the first, and one more for each of its guesses `drafts` that was drawn. */
  accepted(
    { sequence, drafts: { length }, proposed = length }: ScheduledRow,
    drafts: ArrayLike<number>,
    tokens: ArrayLike<number>,
    first: number,
  ): number {
    let right = 0;
    while (right < proposed && drafts[right] === tokens[first + right]) right += 1;
    if (proposed > 0) {
      this.counts.drafts += 1;
      this.counts.draftTokens += proposed;
      this.counts.acceptedTokens += right;
      for (let i = 0; i < right; i++) this.counts.acceptedPerPosition[i]! += 1;
      this.proposer.observe(sequence, proposed, right);
    }
    return 1 + right;
  }

  /** Guesses of each row that give the most tokens a second; 0 where none do. */
  private bestLength(rows: number, chances: readonly Chance[]): number {
    let [best, speed, tokens] = [0, rows, rows];
    for (let length = 1; ; length++) {
      let gain = 0;
      let longer = false;
      for (const { odds, guesses } of chances) {
        if (guesses < length || odds === 0) continue;
        gain += odds ** length;
        longer ||= guesses > length;
      }
      if (gain < LEAST_CHANCE * chances.length && !this.costs.knows(rows, 1 + length)) return best;
      tokens += gain;
      const here = gain === 0 ? 0 : tokens / this.costs.ratio(rows, 1 + length);
      if (here > speed) [best, speed] = [length, here];
      if (!longer) return best;
    }
  }

  /** Guesses for which each row has room: in its sequence, and in the step. */
  private longest(decodes: readonly Sequence[], { tokens, draws }: DecodeRoom): number {
    // One that computes drawn tokens again goes on one by one.
    if (decodes.length === 0 || decodes.some(({ numScheduled, length }) => numScheduled + 1 < length)) return 0;
    return decodes.reduce(
      (most, sequence) => Math.min(most, sequence.maxLength - sequence.length - 1),
      Math.min(Math.floor(Math.min(tokens, draws) / decodes.length) - 1, this.roomOf(decodes.length)),
    );
  }

  /** The same in a step of nothing else, whose graph has a power of two of rows. */
  private roomOf(rows: number): number {
    const ofStep = Math.min(maxDrawsOf(this.config), this.config.maxNumBatchedTokens);
    return Math.min(Math.floor(ofStep / 2 ** Math.ceil(Math.log2(rows))), rowTokensOf(this.config)) - 1;
  }
}
