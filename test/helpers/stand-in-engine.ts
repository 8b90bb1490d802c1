/**
 * An engine process without a model, for tests of what supervises it. How it fails is in the first token of a prompt and
 * in the name of the model's directory. Started as src/supervisor/child.ts is.
 */
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type EngineClient,
  type EngineRequest,
  type EngineStats,
  type EngineToken,
  noStats,
} from "../../src/engine/policy/request";
import { EngineError } from "../../src/errors";
import type { LoadedEngine } from "../../src/llm/load-engine";
import { EngineHost } from "../../src/supervisor/engine-host";

/** What a request's first token makes the engine do after two tokens. */
export const faults = { none: 0, deviceLost: 1, nonFinite: 2, exit: 3, hang: 4, block: 5, nonsense: 6 } as const;
export type Fault = keyof typeof faults;

/** What a directory of this name makes the load do. */
export type LoadFault = "refused" | "exit" | "slow";

/** How the supervisor starts it. */
export const standInProgram = {
  path: __filename,
  execArgv: ["-r", join(__dirname, "register.js")],
};

const config = {
  maxNumSeqs: 4,
  maxNumBatchedTokens: 64,
  chunkSize: 16,
  maxModelLen: 1000,
  maxQueue: 4,
  overlap: true,
  numPages: 0,
  numSnapshots: 0,
  numHostSnapshots: 0,
};

const memory = {
  weights: 20,
  workspace: 2,
  stateBytesPerSeq: 1,
  kvCache: 0,
  snapshots: 0,
  hostSnapshots: 0,
  free: 70,
  total: 100,
};

/** Counts up from the last token of the prompt, one token every few milliseconds. */
class StandInEngine implements EngineClient {
  private readonly alive = new Map<string, { aborted: boolean }>();
  private steps = 0;
  private generatedTokens = 0;

  constructor(private readonly socket: Socket) {}

  async *submit({ id, prompt, maxTokens }: EngineRequest): AsyncIterableIterator<EngineToken> {
    const state = { aborted: false };
    this.alive.set(id, state);
    try {
      for (let i = 0; i < maxTokens; i++) {
        await sleep(2);
        if (state.aborted) return;
        if (i === 2) await this.fail(prompt[0]!);
        this.steps += 1;
        this.generatedTokens += 1;
        yield { id: prompt.at(-1)! + 1 + i, logprobs: null, finishReason: i === maxTokens - 1 ? "length" : null };
      }
    } finally {
      this.alive.delete(id);
    }
  }

  abort(id: string): void {
    const state = this.alive.get(id);
    if (state !== undefined) state.aborted = true;
  }

  stats(): EngineStats {
    const { steps, generatedTokens } = this;
    const running = this.alive.size;
    return { ...noStats, running, slotsUsed: running, slotsTotal: 4, steps, generatedTokens };
  }

  async close(): Promise<void> {}

  private async fail(fault: number): Promise<void> {
    if (fault === faults.deviceLost) throw new EngineError("ERR_DEVICE_LOST", "an illegal address");
    if (fault === faults.nonFinite) throw new EngineError("ERR_NON_FINITE", "not finite");
    if (fault === faults.exit) process.exit(7);
    if (fault === faults.hang) await new Promise(() => {});
    if (fault === faults.block) for (;;);
    if (fault === faults.nonsense) this.socket.write("this is no frame at all");
  }
}

if (require.main === module) {
  const socket = new Socket({ fd: 3, readable: true, writable: true });
  new EngineHost(socket, async (dir, { onProgress, onMessage }): Promise<LoadedEngine> => {
    if (dir === "refused") throw new EngineError("ERR_WEIGHTS", "the weights are broken", { subject: dir });
    if (dir === "exit") process.exit(7);
    onProgress?.(25, 100);
    onMessage?.("a note");
    if (dir === "slow") await sleep(60_000);
    return {
      client: new StandInEngine(socket),
      info: { config, memory, parameters: 5, device: String(process.pid), dtype: "float32", stateDtype: "float32" },
      ready: async () => {},
      health: () => ({ state: "ready", progress: null, restarts: 0 }),
      score: async (ids) => Float32Array.from(ids.slice(1), (id) => -id),
    };
  });
}
