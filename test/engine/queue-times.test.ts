import type { ScheduledBatch } from "../../src/engine/policy/step-plan";
import { QueueTimes } from "../../src/engine/queue-times";

const step = (prefills: string[], decodes: string[] = []) =>
  ({
    rows: [...prefills, ...decodes].map((id) => ({ sequence: { id } })),
    numPrefills: prefills.length,
  }) as unknown as ScheduledBatch;

let now: number;
beforeEach(() => {
  now = 1000;
  jest.spyOn(performance, "now").mockImplementation(() => now);
});
afterEach(() => jest.restoreAllMocks());

it("counts from the arrival to the first step with a part of the prompt, however often that goes on", () => {
  const times = new QueueTimes();
  times.arrived("a");
  now += 5;
  times.arrived("b");
  now += 2;
  times.began(step(["a"]));
  now += 10;
  times.began(step(["a", "b"], ["c"]));
  expect([times.of("a"), times.of("b")]).toEqual([7, 12]);
});

it("knows nothing of a request that is forgotten, and takes its id again", () => {
  const times = new QueueTimes();
  times.arrived("a");
  times.forget("a");
  times.began(step(["a"]));
  expect(times.of("a")).toBeUndefined();
  times.arrived("a");
  now += 3;
  times.began(step(["a"]));
  expect(times.of("a")).toBe(3);
});
