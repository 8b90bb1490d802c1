import { hostname } from "node:os";
import type { EngineStats } from "../engine/policy/request";

const INTERVAL_MS = 10_000;
/** Numbers of levels, and names of fields, as in the lines of the HTTP server. */
const INFO = 30;
const WARN = 40;

type LogLevel = "silent" | "error" | "warn" | "info" | "debug";

/** What the engine says and does, on stderr: for people where only errors are logged, else as lines of JSON. */
export class EngineLog {
  private readonly isJson: boolean;
  private readonly hasInfo: boolean;

  constructor(
    level: LogLevel,
    private readonly write: (line: string) => void,
  ) {
    this.isJson = ["warn", "info", "debug"].includes(level);
    this.hasInfo = ["info", "debug"].includes(level);
  }

  /** A restart, or a limit that was lowered. */
  note(text: string): void {
    if (this.isJson) this.line(WARN, text);
    else this.write(`note: ${text}\n`);
  }

  /** Writes a line each ten seconds in which a step was done, at level info; returns what ends that. */
  follow(stats: () => EngineStats): () => void {
    if (!this.hasInfo) return () => {};
    let last = stats();
    const timer = setInterval(() => {
      const now = stats();
      if (now.steps !== last.steps) this.line(INFO, "engine stats", ratesOf(last, now));
      last = now;
    }, INTERVAL_MS);
    timer.unref();
    return () => clearInterval(timer);
  }

  private line(level: number, msg: string, fields: object = {}): void {
    const { pid } = process;
    const line = { level, time: Date.now(), pid, hostname: hostname(), component: "engine", ...fields, msg };
    this.write(`${JSON.stringify(line)}\n`);
  }
}

/** What was done between two samples. */
function ratesOf(last: EngineStats, now: EngineStats) {
  const each = (count: (stats: EngineStats) => number) => count(now) - count(last);
  const perSecond = (count: (stats: EngineStats) => number) => Math.round((each(count) * 10_000) / INTERVAL_MS) / 10;
  const share = (part: number, whole: number) => (whole === 0 ? null : Math.round((1000 * part) / whole) / 1000);
  const { running, waiting, slotsUsed, slotsTotal, pagesUsed, pagesTotal } = now;
  return {
    ...{ running, waiting, slotsUsed, slotsTotal, pagesUsed, pagesTotal },
    promptTokensPerSecond: perSecond((stats) => stats.prefillTokens),
    generatedTokensPerSecond: perSecond((stats) => stats.generatedTokens),
    stepsPerSecond: perSecond((stats) => stats.steps),
    prefixCacheHitRate: share(
      each((stats) => stats.prefixCacheHits),
      each((stats) => stats.prefixCacheQueries),
    ),
    acceptedGuesses: share(
      each((stats) => stats.speculation.acceptedTokens),
      each((stats) => stats.speculation.draftTokens),
    ),
    preemptions: each((stats) => stats.preemptions),
  };
}
