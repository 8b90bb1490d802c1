import { join } from "node:path";
import type { EngineLoader } from "../../src/llm/load-engine";
import { engineProgram } from "../../src/supervisor/engine-process";
import { supervisedEngine } from "../../src/supervisor/supervised-engine";

/** The engine in a process of its own, as `serve` runs it; started from its sources also where jest runs. */
export function engineInChild(watchdogTimeoutMs = 60_000): EngineLoader {
  return supervisedEngine({
    watchdogTimeoutMs,
    onGiveUp: () => {},
    program: { ...engineProgram, execArgv: ["-r", join(__dirname, "register.js")] },
  });
}
