import { idleShare, StepClock } from "../../src/bench/step-clock";
import type { Stream } from "../../src/tensor/stream";

test("the idle share is what lies between the end of a step and the beginning of the next", () => {
  expect(idleShare([0, 90, 100, 190, 200, 290])).toBeCloseTo(20 / 290);
  expect(idleShare([0, 50, 50, 100])).toBe(0);
});

test("only the steps after the first ones count, each part once", () => {
  const clock = new StepClock(2, 3);
  let marks = 0;
  const stream = { mark: () => (marks += 1) } as unknown as Stream;
  for (let step = 0; step < 8; step++) {
    clock.scheduled();
    clock.built();
    clock.begin(stream);
    clock.end(stream);
    clock.launched();
    clock.received();
    clock.delivered();
  }
  expect(marks).toBe(6);
  expect(Object.values(clock.parts).map((times) => times.length)).toEqual([3, 3, 3, 3, 3]);
});
