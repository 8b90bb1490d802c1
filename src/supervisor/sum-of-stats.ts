import type { EngineStats } from "../engine/policy/request";

/** What is gone with an engine. What its other fields count goes on in the next one's. */
const levels = {
  ...{ running: 0, waiting: 0 },
  ...{ slotsUsed: 0, slotsTotal: 0, pagesUsed: 0, pagesTotal: 0 },
  ...{ snapshotsUsed: 0, snapshotsTotal: 0, hostSnapshotsUsed: 0, hostSnapshotsTotal: 0 },
};

/** What remains of an engine that has ended. */
export function countsOf(stats: EngineStats): EngineStats {
  return { ...stats, ...levels };
}

type Counts = number | readonly number[] | object;

/** Two of one shape: each number plus the other's. */
export function sumOfStats<T extends Counts>(a: T, b: T): T;
export function sumOfStats(a: Counts, b: Counts): Counts {
  if (typeof a === "number") return a + (b as number);
  if (Array.isArray(a)) return a.map((value, i) => value + (b as number[])[i]!);
  const sums = Object.entries(a).map(([name, value]) => [name, sumOfStats(value, b[name as keyof Counts])]);
  return Object.fromEntries(sums);
}
