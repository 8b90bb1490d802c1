import type { Guess } from "./adaptive-proposer";
import { continuationOf } from "./continuation";
import { NgramIndex } from "./ngram-index";
import type { Sequence } from "./sequence";

/** What followed the last tokens when they stood in the prompt or the output before (Saxena, Prompt Lookup Decoding). */
export function ngramGuess(options: Readonly<Record<"promptLookupMin" | "promptLookupMax", number>>): Guess {
  const indices = new WeakMap<Sequence, NgramIndex>();
  return (sequence, most) => {
    let index = indices.get(sequence);
    if (index === undefined) {
      index = new NgramIndex(options.promptLookupMin, options.promptLookupMax);
      indices.set(sequence, index);
    }
    const place = index.find(sequence.tokens);
    return place < 0 ? [] : continuationOf(sequence.tokens, place, most);
  };
}
