import { Watchdog } from "../../src/supervisor/watchdog";

const working = (steps: number) => ({ running: 1, waiting: 0, steps });

/** What the watchdog says at each of so many ticks, with something heard before each. */
function ticks(watchdog: Watchdog, count: number, before: () => void = () => {}): (string | null)[] {
  return Array.from({ length: count }, () => {
    before();
    return watchdog.tick();
  });
}

it("barks at silence", () => {
  const watchdog = new Watchdog({ silence: 2, step: 100 });
  expect(ticks(watchdog, 3)).toEqual([null, null, "silent"]);
  watchdog.heard();
  expect(watchdog.silence).toBe(0);
  expect(ticks(watchdog, 1)).toEqual([null]);
});

it("barks at a step that does not end, though the process says so", () => {
  const watchdog = new Watchdog({ silence: 2, step: 3 });
  watchdog.seen(working(5));
  const beat = () => {
    watchdog.heard();
    watchdog.seen(working(5));
  };
  expect(ticks(watchdog, 4, beat)).toEqual([null, null, null, "step"]);
});

it("a request that waits counts as one that runs", () => {
  const watchdog = new Watchdog({ silence: 100, step: 1 });
  watchdog.seen({ running: 0, waiting: 1, steps: 0 });
  expect(ticks(watchdog, 2)).toEqual([null, "step"]);
});

it("is quiet while steps end, and while there is nothing to do", () => {
  const watchdog = new Watchdog({ silence: 100, step: 1 });
  let steps = 0;
  expect(ticks(watchdog, 5, () => watchdog.seen(working(steps++)))).toEqual([null, null, null, null, null]);
  watchdog.seen({ running: 0, waiting: 0, steps });
  expect(ticks(watchdog, 5)).toEqual([null, null, null, null, null]);
});

it("a step begins when there is work again", () => {
  const watchdog = new Watchdog({ silence: 100, step: 2 });
  watchdog.seen({ running: 0, waiting: 0, steps: 9 });
  ticks(watchdog, 50);
  watchdog.seen(working(9));
  expect(ticks(watchdog, 3)).toEqual([null, null, "step"]);
});
