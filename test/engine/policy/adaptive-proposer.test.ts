import { AdaptiveProposer } from "../../../src/engine/policy/adaptive-proposer";
import { Sequence } from "../../../src/engine/policy/sequence";
import { makeRequest } from "../../helpers/engine-request";

/** Runs a sequence for so many tokens, of whose guesses `right(n)` of n are right; gives the lengths of its proposals. */
function run(tokens: number, right: (proposed: number) => number, available = Number.POSITIVE_INFINITY) {
  const proposer = new AdaptiveProposer((_, most) => new Array<number>(Math.min(most, available)).fill(0));
  const sequence = new Sequence(makeRequest({ prompt: [1], maxTokens: 10_000 }), 0, 10_000);
  const proposed: number[] = [];
  let unwatched = 0;
  while (sequence.tokens.length < tokens) {
    if (!proposer.watches(sequence)) unwatched += 1;
    const { length } = proposer.propose(sequence, 7);
    proposed.push(length);
    const accepted = length === 0 ? 0 : right(length);
    if (length > 0) proposer.observe(sequence, length, accepted);
    sequence.tokens.push(...new Array<number>(accepted + 1).fill(0));
  }
  return { proposed, unwatched, steps: proposed.length };
}

test("guesses that are right get as long as may be", () => {
  const { proposed } = run(200, (n) => n);
  expect(proposed.slice(0, 3)).toEqual([4, 7, 7]);
});

test("as many are guessed as were right", () => {
  expect(run(60, () => 1).proposed.slice(0, 4)).toEqual([4, 1, 2, 1]);
});

test("guesses that are wrong become rare: of 1,000 tokens few were guessed, and few waited for", () => {
  const { proposed, unwatched, steps } = run(1000, () => 0);
  const tries = proposed.filter((length) => length > 0);
  expect(tries.length).toBeLessThan(30);
  expect(tries.slice(1).every((length) => length === 1)).toBe(true);
  expect(steps - unwatched).toBe(tries.length);
});

test("a sequence that nothing is known of is looked at in each eighth step", () => {
  const { unwatched, steps } = run(800, () => 0, 0);
  expect(steps - unwatched).toBeLessThan(0.14 * steps);
});

test("one right guess ends the pauses", () => {
  let calls = 0;
  const { proposed } = run(400, () => (++calls > 6 ? 1 : 0));
  expect(proposed.slice(-20).every((length) => length > 0)).toBe(true);
});
