/** From what was seen to what is wrong. Pure: figures in, checks out. */
import { percentile } from "../../src/bench/serve/statistics";
import type { Sample } from "./probe";
import type { Outside } from "./servers";
import type { Counts } from "./tally";

/** Taken once a second while clients run. */
export interface BusySample extends Outside {
  readonly serverLoop: Sample["loopDelay"];
  readonly engineLoop: Sample["loopDelay"];
}

/** Taken after each round, once every client has gone. */
export interface IdleSample extends Outside {
  /** Milliseconds until no sequence ran or waited and no slot was in use; null where that did not come to pass. */
  readonly emptyAfterMs: number | null;
  /** Steps that the engine made after clients had left until the last of their slots was free. */
  readonly stepsAfterLeaving: number;
  /** After a garbage collection. */
  readonly serverHeap: number;
  readonly engineHeap: number;
  readonly handles: number;
  readonly arenaHighWater: number;
  readonly arenaBytes: number;
  readonly restarts: number;
}

export interface Run {
  readonly seconds: number;
  readonly busy: readonly BusySample[];
  readonly idle: readonly IdleSample[];
  readonly counts: Counts;
  readonly failed: number;
  /** Exit status of the server after SIGTERM. */
  readonly exitStatus: number | null;
}

export interface Check {
  readonly name: string;
  readonly found: string;
  /** Null where a run is too short to tell. */
  readonly ok: boolean | null;
}

const MIB = 2 ** 20;
/** V8 sizes its heap by the load, and compiled code grows, in the first minutes; shorter runs say nothing about pages. */
const RSS_SECONDS = 120;
/**
 * What pages may differ by from the second quarter to the last: a heap grows and shrinks by whole semi-spaces (up to 16 MiB),
 * so less is noise. What leaks among JavaScript's objects is seen sooner in the live heap.
 */
const rssTolerance = (bytes: number) => Math.max(16 * MIB, 0.05 * bytes);
/** What is alive after a garbage collection: compiled code and caches of fixed size still fill. */
const HEAP_TOLERANCE = 2 * MIB;
/** Graphs are captured when a step first needs them, a rare batch size late; a leak is one or more for each request. */
const HANDLE_TOLERANCE = 16;
/** A socket may close a moment after its other end; a leak is one for each request. */
const FILE_TOLERANCE = 2;
/**
 * A chance batch may be fuller than any before it, and in a short run the fullest comes late; a leak of a step's memory fills
 * the arena within minutes.
 */
const ARENA_TOLERANCE = 0.05;
/** A client's leaving crosses two processes; steps go on meanwhile, and take less than a millisecond when few are left. */
const LEAVING_STEPS = 150;
const LOOP_P99_MS = 50;

export function judge(run: Run): Check[] {
  const { busy, idle, counts, failed } = run;
  const isLong = run.seconds >= RSS_SECONDS;
  const last = idle.at(-1)!;
  const flat = (name: string, values: readonly number[], tolerance: number, isJudged = true): Check => {
    const [before, after] = [quarter(values, 2), quarter(values, 4)];
    const found = `${mib(before)} in the second quarter, ${mib(after)} in the last (${mib(tolerance)} more allowed)`;
    return { name, found, ok: isJudged ? after - before <= tolerance : null };
  };
  const steady = (name: string, values: readonly number[], tolerance: number): Check => {
    const before = Math.max(...part(values, 2));
    const after = Math.max(...part(values, 4));
    return {
      name,
      found: `at most ${before} in the second quarter, ${after} in the last`,
      ok: after - before <= tolerance,
    };
  };
  const rss = (name: string, values: readonly number[]) => flat(name, values, rssTolerance(quarter(values, 2)), isLong);
  const loop = (name: string, delays: readonly Sample["loopDelay"][]): Check => {
    const p99 = percentile(
      delays.map((delay) => delay.p99),
      50,
    );
    const longest = Math.max(...delays.map(({ max }) => max));
    const found = `p99 ${p99.toFixed(1)} ms (median of the seconds), longest ${longest.toFixed(0)} ms`;
    return { name, found, ok: isLong ? p99 < LOOP_P99_MS : null };
  };
  const emptied = idle.map(({ emptyAfterMs }) => emptyAfterMs);
  const steps = Math.max(...idle.map(({ stepsAfterLeaving }) => stepsAfterLeaving));
  return [
    {
      name: "answers",
      found: `${counts.compared} equal those given alone, ${failed} failures`,
      ok: failed === 0 && counts.compared > 0,
    },
    {
      name: "slots when idle",
      found: emptied.includes(null)
        ? "in use after all clients had gone"
        : `0, within ${Math.max(0, ...emptied.map(Number)).toFixed(0)} ms`,
      ok: !emptied.includes(null),
    },
    { name: "slots of clients that left", found: `free within ${steps} steps`, ok: steps <= LEAVING_STEPS },
    rss(
      "server: resident memory",
      busy.map(({ serverRss }) => serverRss),
    ),
    rss(
      "engine: resident memory",
      busy.map(({ engineRss }) => engineRss),
    ),
    flat(
      "server: live heap",
      idle.map(({ serverHeap }) => serverHeap),
      HEAP_TOLERANCE,
      isLong,
    ),
    flat(
      "engine: live heap",
      idle.map(({ engineHeap }) => engineHeap),
      HEAP_TOLERANCE,
      isLong,
    ),
    steady(
      "server: open files",
      idle.map(({ serverFds }) => serverFds),
      FILE_TOLERANCE,
    ),
    steady(
      "engine: open files",
      idle.map(({ engineFds }) => engineFds),
      FILE_TOLERANCE,
    ),
    steady(
      "native handles",
      idle.map(({ handles }) => handles),
      HANDLE_TOLERANCE,
    ),
    flat(
      "arena high-water mark",
      idle.map(({ arenaHighWater }) => arenaHighWater),
      ARENA_TOLERANCE * last.arenaBytes,
      isLong,
    ),
    loop(
      "server: event loop",
      busy.map(({ serverLoop }) => serverLoop),
    ),
    loop(
      "engine: event loop",
      busy.map(({ engineLoop }) => engineLoop),
    ),
    { name: "engine's process", found: `started again ${last.restarts} times`, ok: last.restarts === 0 },
    { name: "exit status after SIGTERM", found: `${run.exitStatus}`, ok: run.exitStatus === 0 },
  ];
}

/** The n-th quarter of a series, of at least one value. */
function part(values: readonly number[], n: 1 | 2 | 3 | 4): readonly number[] {
  const from = Math.floor(((n - 1) * values.length) / 4);
  return values.slice(from, Math.max(from + 1, Math.floor((n * values.length) / 4)));
}

const quarter = (values: readonly number[], n: 2 | 4) => percentile(part(values, n), 50);
const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
