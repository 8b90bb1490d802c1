import type { Guess } from "./adaptive-proposer";
import { continuationOf } from "./continuation";
import type { Sequence } from "./sequence";
import { SuffixAutomaton } from "./suffix-automaton";

/** Tokens of a sequence that are looked up at most: where there would be more, the older half is forgotten. They take 4.2 MB at most. */
const MOST_TOKENS = 32_768;

/** One token that stood before says little of the next. */
const LEAST_LENGTH = 2;

/** The automaton of a sequence's tokens from `begin` on. */
interface Window {
  automaton: SuffixAutomaton;
  begin: number;
}

/**
 * What followed the longest end of the sequence that stood in it before (Oliaro et al., SuffixDecoding): the longer that is, the
 * more is guessed.
 */
export function suffixGuess(
  { suffixDecodingMaxSpecFactor }: Readonly<Record<"suffixDecodingMaxSpecFactor", number>>,
  mostTokens = MOST_TOKENS,
): Guess {
  const windows = new WeakMap<Sequence, Window>();
  return (sequence, most) => {
    let window = windows.get(sequence);
    if (window === undefined) {
      window = { automaton: new SuffixAutomaton(), begin: 0 };
      windows.set(sequence, window);
    }
    const { tokens } = sequence;
    const { size } = window.automaton;
    if (tokens.length - window.begin > mostTokens) {
      window.automaton = new SuffixAutomaton();
      window.begin = tokens.length - Math.ceil(mostTokens / 2);
      for (let i = window.begin; i < tokens.length; i++) window.automaton.add(tokens[i]!);
    } else {
      for (let i = window.begin + size; i < tokens.length; i++) window.automaton.add(tokens[i]!);
    }
    const { length, next } = window.automaton.repetition;
    if (length < LEAST_LENGTH) return [];
    const longest = Math.max(1, Math.floor(suffixDecodingMaxSpecFactor * length));
    return continuationOf(tokens, window.begin + next, Math.min(most, longest));
  };
}
