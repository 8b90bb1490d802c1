import { type BusySample, type IdleSample, judge, type Run } from "./verdict";

const MIB = 2 ** 20;
const loop = { p50: 1, p99: 5, max: 80 };
const outside = { serverRss: 150 * MIB, engineRss: 240 * MIB, serverFds: 25, engineFds: 21 };
const busy: BusySample = { ...outside, serverLoop: loop, engineLoop: loop };
const idle: IdleSample = {
  ...outside,
  ...{ emptyAfterMs: 4, stepsAfterLeaving: 2, serverHeap: 20 * MIB, engineHeap: 12 * MIB },
  ...{ handles: 108, arenaHighWater: 4 * MIB, arenaBytes: 5 * MIB, restarts: 0 },
};
const counts = {
  ...{ requests: 100, compared: 90, unseeded: 4, streamed: 50, aborted: 5, refused: 1, leftAtOnce: 96, leftOut: 0 },
  ...{ promptTokens: 1000, completionTokens: 500 },
};

/** A run of 40 samples of each kind, the i-th changed by `change(i)`. */
function run(change: (i: number) => Partial<BusySample & IdleSample> = () => ({}), more: Partial<Run> = {}): Run {
  const series = <T>(sample: T) => Array.from({ length: 40 }, (_, i) => ({ ...sample, ...change(i) }));
  return { seconds: 600, busy: series(busy), idle: series(idle), counts, failed: 0, exitStatus: 0, ...more };
}

const failedOf = (found: Run) =>
  judge(found)
    .filter(({ ok }) => ok === false)
    .map(({ name }) => name);

it("a flat run is right", () => {
  expect(failedOf(run())).toEqual([]);
  expect(judge(run()).every(({ ok }) => ok === true)).toBe(true);
});

it("what rises before the second quarter only is right", () => {
  expect(failedOf(run((i) => ({ serverRss: Math.min(i, 8) * 20 * MIB, handles: Math.min(i, 8) * 10 })))).toEqual([]);
});

it.each<[string, (i: number) => Partial<BusySample & IdleSample>]>([
  ["server: resident memory", (i) => ({ serverRss: (150 + i) * MIB })],
  ["engine: resident memory", (i) => ({ engineRss: (240 + i) * MIB })],
  ["server: live heap", (i) => ({ serverHeap: (20 + i / 8) * MIB })],
  ["engine: live heap", (i) => ({ engineHeap: (12 + i / 8) * MIB })],
  ["server: open files", (i) => ({ serverFds: 25 + Math.floor(i / 4) })],
  ["engine: open files", (i) => ({ engineFds: 21 + Math.floor(i / 4) })],
  ["native handles", (i) => ({ handles: 100 + i })],
  ["arena high-water mark", (i) => ({ arenaHighWater: (4 + i / 40) * MIB })],
  ["slots when idle", (i) => (i === 7 ? { emptyAfterMs: null } : {})],
  ["slots of clients that left", (i) => (i === 7 ? { stepsAfterLeaving: 4000 } : {})],
  ["server: event loop", () => ({ serverLoop: { p50: 1, p99: 60, max: 60 } })],
  ["engine: event loop", () => ({ engineLoop: { p50: 1, p99: 60, max: 60 } })],
  ["engine's process", () => ({ restarts: 1 })],
])("%s that is wrong is found, and nothing else", (name, change) => {
  expect(failedOf(run(change))).toEqual([name]);
});

it("a wrong answer and a bad end are found", () => {
  expect(failedOf(run(undefined, { failed: 1 }))).toEqual(["answers"]);
  expect(failedOf(run(undefined, { counts: { ...counts, compared: 0 } }))).toEqual(["answers"]);
  expect(failedOf(run(undefined, { exitStatus: 70 }))).toEqual(["exit status after SIGTERM"]);
});

it("a short run says nothing about memory, and everything about answers and handles", () => {
  const short = judge(run((i) => ({ serverRss: i * MIB * 10, handles: i * 10 }), { seconds: 20 }));
  expect(short.find(({ name }) => name === "server: resident memory")!.ok).toBeNull();
  expect(short.find(({ name }) => name === "native handles")!.ok).toBe(false);
});
