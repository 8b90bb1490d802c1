import { EngineLog } from "../../src/cli/engine-log";
import { type EngineStats, noStats } from "../../src/engine/policy/request";

const logged = (level: ConstructorParameters<typeof EngineLog>[0]) => {
  const lines: string[] = [];
  return { lines, log: new EngineLog(level, (line) => lines.push(line)) };
};

it.each(["silent", "error"] as const)("at %s a note is for people", (level) => {
  const { lines, log } = logged(level);
  log.note("it is slow");
  expect(lines).toEqual(["note: it is slow\n"]);
});

it.each(["warn", "info", "debug"] as const)("at %s it is a line of JSON", (level) => {
  const { lines, log } = logged(level);
  log.note('it "is"\nslow');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^[^\n]+\n$/);
  expect(JSON.parse(lines[0]!)).toMatchObject({
    level: 40,
    pid: process.pid,
    component: "engine",
    msg: 'it "is"\nslow',
  });
});

describe("numbers", () => {
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  it("come each ten seconds in which there was a step, until it is ended", () => {
    const { lines, log } = logged("info");
    let stats: EngineStats = noStats;
    const end = log.follow(() => stats);
    jest.advanceTimersByTime(10_000);
    expect(lines).toEqual([]);
    const speculation = { ...noStats.speculation, drafts: 4, draftTokens: 16, acceptedTokens: 4 };
    const counts = {
      steps: 50,
      prefillTokens: 400,
      generatedTokens: 55,
      prefixCacheQueries: 400,
      prefixCacheHits: 100,
    };
    stats = { ...noStats, ...counts, running: 3, speculation };
    jest.advanceTimersByTime(10_000);
    expect(JSON.parse(lines[0]!)).toMatchObject({
      ...{ level: 30, component: "engine", msg: "engine stats", running: 3, waiting: 0, preemptions: 0 },
      ...{ promptTokensPerSecond: 40, generatedTokensPerSecond: 5.5, stepsPerSecond: 5 },
      ...{ prefixCacheHitRate: 0.25, acceptedGuesses: 0.25 },
    });
    jest.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(1);
    end();
    stats = { ...stats, steps: 60 };
    jest.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(1);
  });

  it("do not come where only warnings are logged", () => {
    const { lines, log } = logged("warn");
    let steps = 0;
    log.follow(() => ({ ...noStats, steps: steps++ }));
    jest.advanceTimersByTime(60_000);
    expect(lines).toEqual([]);
  });
});
