import type { Proposer } from "./proposer";
import type { SchedulerConfig } from "./scheduler-config";
import type { Sequence } from "./sequence";
import { maxDrawsOf, rowTokensOf } from "./speculative-config";
import { noDrafts, type ScheduledRow } from "./step-plan";

/** Guesses of a row. */
export interface RowDrafts {
  readonly tokens: readonly number[];
  /** How many of them were proposed; the others only fill the row up to the length of its step. */
  readonly proposed: number;
}

const none: RowDrafts = { tokens: noDrafts, proposed: 0 };

/** What the decodes of a step guess. All of them are made equally long, because one kernel takes all rows. */
export class DraftPlan {
  readonly counts = { drafts: 0, draftTokens: 0, acceptedTokens: 0 };

  /** Whether the last decodes had room for guesses. */
  private hasRoom = true;

  constructor(
    private readonly proposer: Proposer,
    private readonly config: SchedulerConfig,
  ) {}

  /** Whether the sequence waits for its last token, which is not known yet. Not while a step is too full for guesses. */
  waits(sequence: Sequence): boolean {
    return this.hasRoom && sequence.numPending > 0 && sequence.takesDrafts && this.proposer.watches(sequence);
  }

  /** The guesses of each of `decodes`, which have `spare` tokens of the step's budget together. */
  of(decodes: readonly Sequence[], spare: number): (sequence: Sequence) => RowDrafts {
    const most = this.longest(decodes, spare);
    if (decodes.length > 0) this.hasRoom = most > 0;
    if (most < 1) return () => none;
    const proposals = new Map<Sequence, readonly number[]>();
    let length = 0;
    for (const sequence of decodes) {
      if (sequence.numPending > 0 || !sequence.takesDrafts) continue;
      const tokens = this.proposer.propose(sequence, most);
      if (tokens.length > 0) proposals.set(sequence, tokens);
      length = Math.max(length, tokens.length);
    }
    if (length === 0) return () => none;
    return (sequence) => {
      const tokens = proposals.get(sequence) ?? noDrafts;
      const filler = new Array<number>(length - tokens.length).fill(0);
      return { tokens: [...tokens, ...filler], proposed: tokens.length };
    };
  }

  /** How many of the row's drawn tokens count: the first, and one more for each guess that was drawn. */
  accepted({ sequence, drafts, proposed = drafts.length }: ScheduledRow, tokens: ArrayLike<number>, first: number) {
    let right = 0;
    while (right < proposed && drafts[right] === tokens[first + right]) right += 1;
    if (proposed > 0) {
      this.counts.drafts += 1;
      this.counts.draftTokens += proposed;
      this.counts.acceptedTokens += right;
      this.proposer.observe(sequence, proposed, right);
    }
    return 1 + right;
  }

  /** Guesses for which each row has room: in its sequence, in the step's budget, and in a graph of a power of two of rows. */
  private longest(decodes: readonly Sequence[], spare: number): number {
    // One that computes drawn tokens again goes on one by one.
    if (decodes.length === 0 || decodes.some(({ numScheduled, length }) => numScheduled + 1 < length)) return 0;
    const padded = 2 ** Math.ceil(Math.log2(decodes.length));
    const ofStep = Math.min(maxDrawsOf(this.config), this.config.maxNumBatchedTokens);
    const perRow = Math.min(spare / decodes.length, ofStep / padded, rowTokensOf(this.config));
    return decodes.reduce(
      (most, sequence) => Math.min(most, sequence.maxLength - sequence.length - 1),
      Math.floor(perRow) - 1,
    );
  }
}
