import type { Proposer } from "./proposer";
import type { Sequence } from "./sequence";

/** Guesses at most `most` of a sequence's next tokens, all of its own being known. */
export type Guess = (sequence: Sequence, most: number) => readonly number[];

/** Longest pause after guesses that were wrong, and after finding none, in tokens: what looking costs is then lost in it. */
const LONGEST_PAUSE = 64;
const LONGEST_QUIET = 8;

/** Guesses of a sequence's first proposal. */
const FIRST_LENGTH = 4;

interface Progress {
  /** Length of the sequence from which on it is watched. */
  resumesAt: number;
  /** Proposals in a row of which no token was right, and times in a row that nothing was guessed. */
  failures: number;
  quiet: number;
  /** Tokens of the next proposal. */
  length: number;
}

/**
 * As many guesses as have been right lately, for each sequence: twice as many after all were, else what was. One whose guesses
 * fail is left alone for longer and longer, so that it runs as if there were none.
 */
export class AdaptiveProposer implements Proposer {
  private readonly progress = new WeakMap<Sequence, Progress>();

  constructor(private readonly guess: Guess) {}

  watches(sequence: Sequence): boolean {
    return sequence.length >= this.of(sequence).resumesAt;
  }

  propose(sequence: Sequence, most: number): readonly number[] {
    const progress = this.of(sequence);
    const { length } = sequence.tokens;
    if (length < progress.resumesAt) return [];
    const guesses = this.guess(sequence, Math.min(most, progress.length));
    progress.quiet = guesses.length > 0 ? 0 : progress.quiet + 1;
    if (guesses.length === 0) progress.resumesAt = length + pause(progress.quiet, LONGEST_QUIET);
    return guesses;
  }

  observe(sequence: Sequence, proposed: number, accepted: number): void {
    const progress = this.of(sequence);
    progress.length = accepted === proposed ? 2 * proposed : Math.max(1, accepted);
    progress.failures = accepted > 0 ? 0 : progress.failures + 1;
    // The tokens of the step are not in the sequence yet: one more than were right.
    const length = sequence.tokens.length + accepted + 1;
    progress.resumesAt = accepted > 0 ? 0 : length + pause(progress.failures, LONGEST_PAUSE);
  }

  private of(sequence: Sequence): Progress {
    let progress = this.progress.get(sequence);
    if (progress === undefined) {
      progress = { resumesAt: 0, failures: 0, quiet: 0, length: FIRST_LENGTH };
      this.progress.set(sequence, progress);
    }
    return progress;
  }
}

/** Tokens to wait after `failures` failures in a row: none after the first, then twice as many each time. */
function pause(failures: number, longest: number): number {
  return failures < 2 ? 0 : Math.min(longest, 2 ** (failures - 1));
}
