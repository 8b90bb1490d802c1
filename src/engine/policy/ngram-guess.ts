import type { Guess } from "./adaptive-proposer";
import { NgramIndex } from "./ngram-index";
import type { Sequence } from "./sequence";

/**
 * What followed the last tokens when they stood in the prompt or the output before (Saxena, Prompt Lookup Decoding). A run that
 * reaches the sequence's end goes on into what is guessed, as in a loop.
 */
export function ngramGuess(options: Readonly<Record<"promptLookupMin" | "promptLookupMax", number>>): Guess {
  const indices = new WeakMap<Sequence, NgramIndex>();
  return (sequence, most) => {
    let index = indices.get(sequence);
    if (index === undefined) {
      index = new NgramIndex(options.promptLookupMin, options.promptLookupMax);
      indices.set(sequence, index);
    }
    const { tokens } = sequence;
    const place = index.find(tokens);
    const guesses: number[] = [];
    if (place < 0) return guesses;
    for (let i = place; guesses.length < most; i++) {
      guesses.push(i < tokens.length ? tokens[i]! : guesses[i - tokens.length]!);
    }
    return guesses;
  };
}
