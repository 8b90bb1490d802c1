import { AdaptiveProposer } from "../../../src/engine/policy/adaptive-proposer";
import { Sequence } from "../../../src/engine/policy/sequence";
import { makeRequest } from "../../helpers/engine-request";

/** Runs a sequence for so many tokens, of whose guesses `right(n)` of n are right; gives what it was like step by step. */
function run(
  tokens: number,
  right: (proposed: number) => number,
  available = Number.POSITIVE_INFINITY,
  leastShare = 0,
) {
  const proposer = new AdaptiveProposer((_, most) => new Array<number>(Math.min(most, available)).fill(0), leastShare);
  const sequence = new Sequence(makeRequest({ prompt: [1], maxTokens: 10_000 }), 0, 10_000);
  const odds: number[] = [];
  let proposals = 0;
  while (sequence.tokens.length < tokens) {
    odds.push(proposer.odds(sequence));
    const { length } = odds.at(-1)! > 0 ? proposer.propose(sequence, 3) : [];
    const accepted = length === 0 ? 0 : right(length);
    if (length > 0) proposer.observe(sequence, length, accepted);
    if (length > 0) proposals += 1;
    sequence.tokens.push(...new Array<number>(accepted + 1).fill(0));
  }
  return { odds, proposals, looked: odds.filter((each) => each > 0).length };
}

/** The longest time that a sequence of one token for each step was not looked at. */
const longestPause = (odds: readonly number[]) =>
  Math.max(
    ...odds
      .map((each) => (each > 0 ? " " : "."))
      .join("")
      .split(" ")
      .map(({ length }) => length),
  );

test("a sequence is looked at from its first token on, with even odds", () => {
  expect(run(2, (n) => n).odds[0]).toBe(0.5);
});

test("odds become the share of guesses that are right", () => {
  expect(run(400, (n) => n).odds.at(-1)).toBeGreaterThan(0.98);
  let calls = 0;
  // Two of three guesses are looked at and one of them is right, then three of three.
  const odds = run(4000, () => (++calls % 2 === 0 ? 3 : 1)).odds.slice(-40);
  expect(odds.reduce((sum, each) => sum + each, 0) / odds.length).toBeCloseTo(0.8, 1);
});

test("odds go by the last sixteen guesses or so, however many were right before", () => {
  let calls = 0;
  const { odds } = run(4000, () => (++calls > 200 ? 0 : 3));
  const first = odds.findIndex((each, step) => step > 100 && each < 0.97);
  expect([odds[first - 1]! > 0.99, odds[first]! > 0.9]).toEqual([true, true]);
  // One guess of each step counts: those after one that is wrong do not.
  expect(
    odds
      .slice(first)
      .filter((each) => each > 0)
      .findIndex((each) => each < 0.5),
  ).toBe(10);
});

test("a guess that is wrong now and then is no reason to pause", () => {
  let calls = 0;
  const { odds } = run(400, () => (++calls % 3 === 0 ? 2 : 0));
  expect(odds.every((each) => each > 0)).toBe(true);
});

test("guesses that are wrong become rare: of 1,000 tokens few were guessed, and few waited for", () => {
  const { odds, proposals, looked } = run(1000, () => 0);
  expect(proposals).toBeLessThan(25);
  expect(looked).toBe(proposals);
  expect(odds.filter((each) => each > 0).at(-1)).toBe(0.2);
  expect(longestPause(odds)).toBe(64);
});

test("a sequence that nothing is known of is looked at in each eighth step", () => {
  const { odds, looked } = run(800, () => 0, 0);
  expect(looked).toBeLessThan(0.14 * odds.length);
  expect(longestPause(odds)).toBe(7);
});

test("a sequence whose guesses are nearly never right is given up, where that is asked for", () => {
  const { proposals, odds } = run(1000, () => 0, Number.POSITIVE_INFINITY, 0.12);
  expect([proposals, odds.lastIndexOf(0.2) < 45]).toEqual([7, true]);
  let calls = 0;
  const kept = run(1000, () => (++calls % 5 === 0 ? 1 : 0), Number.POSITIVE_INFINITY, 0.12);
  expect(kept.odds.slice(-100).some((each) => each > 0)).toBe(true);
});

test("one right guess ends the pauses", () => {
  let calls = 0;
  const { odds } = run(400, () => (++calls > 6 ? 1 : 0));
  expect(odds.slice(-20).every((each) => each > 0)).toBe(true);
});
