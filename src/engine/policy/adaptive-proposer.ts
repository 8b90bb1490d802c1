import type { Proposer } from "./proposer";
import type { Sequence } from "./sequence";

/** Guesses at most `most` of a sequence's next tokens, all of its own being known. */
export type Guess = (sequence: Sequence, most: number) => readonly number[];

/** Longest pause after guesses that were wrong, and after finding none, in tokens: what looking costs is then lost in it. */
const LONGEST_PAUSE = 64;
const LONGEST_QUIET = 8;

/** Proposals without a right token in a row that are no reason to pause: of good guesses some go wrong at once, too. */
const PARDONED = 2;

/**
 * Share of right guesses that a sequence begins with, as if it were that of two, and the least: it may be tried again. A guess
 * counts as one of all so far, and as one of the last few later on.
 */
const FIRST_ODDS = 0.5;
const FIRST_COUNT = 2;
const MOST_COUNT = 16;
const LEAST_ODDS = 0.2;

interface Progress {
  /** Length of the sequence from which on it is looked at. */
  resumesAt: number;
  /** Proposals in a row of which no token was right, and times in a row that nothing was guessed. */
  failures: number;
  quiet: number;
  /** Share of guesses that were right, of those that came after right ones. */
  right: number;
  /** Guesses that it is the share of. */
  count: number;
}

/** Knows how often each sequence's guesses were right lately. One whose guesses fail is left alone for longer and longer. */
export class AdaptiveProposer implements Proposer {
  private readonly progress = new WeakMap<Sequence, Progress>();

  /** `leastShare`: of right guesses, below which a sequence is given up. */
  constructor(
    private readonly guess: Guess,
    private readonly leastShare = 0,
  ) {}

  odds(sequence: Sequence): number {
    return sequence.length < this.of(sequence).resumesAt ? 0 : this.prospect(sequence);
  }

  prospect(sequence: Sequence): number {
    const { right } = this.of(sequence);
    return right < this.leastShare ? 0 : Math.max(LEAST_ODDS, right);
  }

  propose(sequence: Sequence, most: number): readonly number[] {
    const progress = this.of(sequence);
    const guesses = this.guess(sequence, most);
    progress.quiet = guesses.length > 0 ? 0 : progress.quiet + 1;
    if (guesses.length === 0) progress.resumesAt = sequence.tokens.length + pause(progress.quiet, LONGEST_QUIET);
    return guesses;
  }

  observe(sequence: Sequence, proposed: number, accepted: number): void {
    const progress = this.of(sequence);
    for (let i = 0; i < Math.min(proposed, accepted + 1); i++) {
      progress.count = Math.min(progress.count + 1, MOST_COUNT);
      progress.right += (Number(i < accepted) - progress.right) / progress.count;
    }
    progress.failures = accepted > 0 ? 0 : progress.failures + 1;
    // The tokens of the step are not in the sequence yet: one more than were right.
    const length = sequence.tokens.length + accepted + 1;
    progress.resumesAt = length + pause(progress.failures - PARDONED + 1, LONGEST_PAUSE);
  }

  private of(sequence: Sequence): Progress {
    let progress = this.progress.get(sequence);
    if (progress === undefined) {
      progress = { resumesAt: 0, failures: 0, quiet: 0, right: FIRST_ODDS, count: FIRST_COUNT };
      this.progress.set(sequence, progress);
    }
    return progress;
  }
}

/** Tokens to wait after `failures` failures in a row: none after the first, then twice as many each time. */
function pause(failures: number, longest: number): number {
  return failures < 2 ? 0 : Math.min(longest, 2 ** (failures - 1));
}
