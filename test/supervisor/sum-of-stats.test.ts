import { type EngineStats, noStats } from "../../src/engine/policy/request";
import { countsOf, sumOfStats } from "../../src/supervisor/sum-of-stats";

it("adds each count, those of steps by size and of guesses too", () => {
  const stepSizes = [1, 2, ...noStats.stepSizes.slice(2)];
  const stats: EngineStats = {
    ...noStats,
    running: 2,
    steps: 3,
    stepSizes,
    speculation: { ...noStats.speculation, drafts: 4 },
  };
  const sum = sumOfStats(stats, stats);
  expect(sum).toMatchObject({ running: 4, steps: 6, waiting: 0, speculation: { drafts: 8, draftTokens: 0 } });
  expect(sum.stepSizes.slice(0, 3)).toEqual([2, 4, 0]);
  expect(sumOfStats(sum, noStats)).toEqual(sum);
});

it("what an engine holds ends with it, what it has counted does not", () => {
  const all = sumOfStats({ ...noStats, running: 2, slotsUsed: 2, slotsTotal: 4, steps: 3 }, noStats);
  expect(countsOf(all)).toEqual({ ...noStats, steps: 3 });
});

it("every number is either a level or counted", () => {
  const ones = JSON.parse(JSON.stringify(noStats).replaceAll(":0", ":1")) as EngineStats;
  const counted = Object.entries(countsOf(ones)).filter(([, value]) => value !== 0);
  expect(counted.map(([name]) => name)).toEqual([
    ...["steps", "promptTokens", "generatedTokens", "prefillRows", "prefillTokens", "decodeTokens", "stepSizes"],
    ...["preemptions", "prefixCacheQueries", "prefixCacheHits", "speculation"],
  ]);
});
