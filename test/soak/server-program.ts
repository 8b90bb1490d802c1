/** The HTTP process of the soak: what `mamba-serve serve` runs, with a probe in it and in its engine's process. */
import { join } from "node:path";
import type { EngineHealth } from "../../src/engine/policy/request";
import { LLM } from "../../src/llm/llm";
import { serve } from "../../src/server/serve";
import { supervisedEngine } from "../../src/supervisor/supervised-engine";
import { answerSamples, type Sample } from "./probe";

export interface ServerSample extends Sample {
  readonly health: EngineHealth;
}

async function main(): Promise<void> {
  const program = {
    path: join(__dirname, "engine-program.ts"),
    execArgv: ["-r", join(__dirname, "..", "helpers", "register.js")],
  };
  const engineOf = supervisedEngine({ watchdogTimeoutMs: 60_000, onGiveUp: () => process.exit(70), program });
  const sizes = { maxNumSeqs: 32, maxModelLen: 4096 };
  const llm = await LLM.load(undefined, { ...sizes, device: "cpu" }, engineOf);
  await llm.ready();
  const server = await serve(llm, { port: 0 });
  answerSamples(process.env.SOAK_SERVER_SOCKET!, () => ({ health: llm.health() }));
  process.on("SIGTERM", () => void server.close().then(() => process.exit(0)));
  process.stdout.write(`${JSON.stringify({ url: server.url, info: llm.info })}\n`);
}

void main();
