import { join } from "node:path";
import type { EngineLoader } from "../../src/llm/load-engine";
import { engineProgram } from "../../src/supervisor/engine-process";
import { supervisedEngine } from "../../src/supervisor/supervised-engine";

/** Node's arguments with which an engine process runs its sources. */
export const engineRegister = ["-r", join(__dirname, "register.js")];

/** The engine in a process of its own, as `serve` runs it; started from its sources also where jest runs. */
export function engineInChild(watchdogTimeoutMs = 60_000): EngineLoader {
  return supervisedEngine({
    watchdogTimeoutMs,
    onGiveUp: () => {},
    program: { ...engineProgram, execArgv: engineRegister },
  });
}
