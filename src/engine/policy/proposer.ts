import type { Sequence } from "./sequence";

/** Guesses tokens that follow a sequence's last one. What it guesses changes how fast tokens come, never which. */
export interface Proposer {
  /** How likely a guess of the sequence's next token is right, by how guesses went so far; 0 = none is to be made now. */
  odds(sequence: Sequence): number;
  /** The same whether or not one is to be made now; 0 = none is to be made any more. */
  prospect(sequence: Sequence): number;
  /** At most `most` tokens, all of the sequence's own being known; none where it has no idea. */
  propose(sequence: Sequence, most: number): readonly number[];
  /** Says that so many of the `proposed` tokens of a row were right. */
  observe(sequence: Sequence, proposed: number, accepted: number): void;
}
