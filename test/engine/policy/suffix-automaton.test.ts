import fc from "fast-check";
import { SuffixAutomaton } from "../../../src/engine/policy/suffix-automaton";

function automatonOf(tokens: readonly number[]): SuffixAutomaton {
  const automaton = new SuffixAutomaton();
  for (const token of tokens) automaton.add(token);
  return automaton;
}

/** The longest end of `tokens` that stands in them elsewhere, at its newest place, by looking at every one. */
function longestEnd(tokens: readonly number[]): { length: number; next: number } {
  let best = { length: 0, next: 1 };
  for (let end = tokens.length - 2; end >= 0; end--) {
    let length = 0;
    while (length <= end && tokens[end - length] === tokens.at(-1 - length)) length += 1;
    if (length > best.length) best = { length, next: end + 1 };
  }
  return best;
}

test.each<[string, number[], number, number]>([
  ["nothing", [], 0, 0],
  ["one token", [7], 0, 1],
  ["no token twice", [1, 2, 3], 0, 1],
  ["an end of two", [1, 2, 3, 1, 2], 2, 2],
  ["the newest of equal ones", [1, 2, 3, 1, 2, 4, 1, 2], 2, 5],
  ["a longer one before a newer", [9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], 3, 3],
  ["one that laps over itself", [5, 5, 5, 5], 3, 3],
  ["tokens of 0 and of 31 bits", [0, 2 ** 31 - 1, 0, 2 ** 31 - 1], 2, 2],
])("%s", (_, tokens, length, next) => {
  const automaton = automatonOf(tokens);
  expect(automaton.repetition).toEqual({ length, next });
  expect(automaton.size).toBe(tokens.length);
});

test("after each token it is what a search finds", () => {
  // Up to 32 tokens, whose ends have no more shorter ones than are noted: the newest place, too.
  fc.assert(
    fc.property(fc.array(fc.nat(3), { maxLength: 32 }), (tokens) => {
      const automaton = new SuffixAutomaton();
      for (const [i, token] of tokens.entries()) {
        automaton.add(token);
        expect(automaton.repetition).toEqual(longestEnd(tokens.slice(0, i + 1)));
      }
    }),
  );
});

test("of long lists the length is what a search finds, and the end stood at that place", () => {
  const run = fc.array(fc.nat(2), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.array(run, { minLength: 4, maxLength: 8 }), fc.nat(7), (runs, again) => {
      const tokens = [...runs, ...runs, runs[again % runs.length]!].flat();
      const { length, next } = automatonOf(tokens).repetition;
      expect(length).toBe(longestEnd(tokens).length);
      expect(tokens.slice(next - length, next)).toEqual(tokens.slice(tokens.length - length));
      expect(next).toBeLessThan(tokens.length);
    }),
    { numRuns: 50 },
  );
});

test("one token 5,000 times, and 5,000 different ones", () => {
  expect(automatonOf(new Array<number>(5000).fill(3)).repetition).toEqual({ length: 4999, next: 4999 });
  expect(automatonOf(Array.from({ length: 5000 }, (_, i) => i)).repetition.length).toBe(0);
});
