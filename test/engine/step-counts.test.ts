import { STEP_SIZES } from "../../src/engine/policy/request";
import { StepCounts } from "../../src/engine/step-counts";

const sum = (list: readonly number[]) => list.reduce((total, each) => total + each, 0);

const step = (prefills: number[], decodes: number[]) => ({
  numPrefills: prefills.length,
  numPrefillTokens: sum(prefills),
  numTokens: sum(prefills) + sum(decodes),
});

it("counts guesses with the decode that they belong to", () => {
  const counts = new StepCounts();
  counts.add(step([100, 20], [1, 4]));
  counts.add(step([], [4, 4]));
  expect(counts.all()).toMatchObject({ steps: 2, prefillRows: 2, prefillTokens: 120, decodeTokens: 13 });
});

it("sorts steps by their tokens, a bound's own number below it", () => {
  const counts = new StepCounts();
  for (const tokens of [1, 8, 9, 16_384, 16_385]) counts.add(step([], [tokens]));
  const { stepSizes } = counts.all();
  const of = (bound: (typeof STEP_SIZES)[number]) => stepSizes[STEP_SIZES.indexOf(bound)];
  expect([of(1), of(8), of(16), of(16_384), stepSizes.at(-1)]).toEqual([1, 1, 1, 1, 1]);
});
