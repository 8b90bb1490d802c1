import { RestartPolicy } from "../../src/supervisor/restart-policy";

const limits = { firstDelayMs: 500, maxDelayMs: 30_000, failures: 5, windowMs: 300_000 };

/** The answers to failures at these seconds. */
function answers(...seconds: readonly number[]): (number | null)[] {
  const policy = new RestartPolicy(limits);
  return seconds.map((second) => policy.failed(1000 * second));
}

it("waits twice as long after each failure, and gives up at the fifth in five minutes", () => {
  expect(answers(0, 1, 2, 5, 10)).toEqual([500, 1000, 2000, 4000, null]);
  expect(answers(0, 1, 2, 3, 299.9)).toEqual([500, 1000, 2000, 4000, null]);
});

it("goes on while no window has five", () => {
  expect(answers(0, 1, 2, 3, 300)).toEqual([500, 1000, 2000, 4000, 8000]);
});

it("waits no longer than the longest wait", () => {
  const every80s = Array.from({ length: 9 }, (_, i) => 80 * i);
  expect(answers(...every80s)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

it("starts over after five minutes without a failure", () => {
  expect(answers(0, 1, 2, 302, 303)).toEqual([500, 1000, 2000, 500, 1000]);
});
