import type { EngineToken } from "../../src/engine/policy/request";
import type { EngineError } from "../../src/errors";
import type { LoadedEngine, LoadOptions } from "../../src/llm/load-engine";
import type { ModelConfig } from "../../src/models/config";
import { supervisedEngine } from "../../src/supervisor/supervised-engine";
import { makeRequest } from "../helpers/engine-request";
import { type Fault, faults, type LoadFault, standInProgram } from "../helpers/stand-in-engine";
import { until } from "../helpers/until";

interface Started {
  readonly engine: LoadedEngine;
  readonly notes: string[];
  readonly progress: number[];
  readonly givenUp: Promise<EngineError>;
}

const engines: LoadedEngine[] = [];
afterEach(() => Promise.all(engines.splice(0).map((engine) => engine.client.close())));

/** A supervised stand-in; `dir` makes its load fail. */
function start(dir: LoadFault | "good" = "good", { watchdogTimeoutMs = 60_000, failures = 5 } = {}): Started {
  const notes: string[] = [];
  const progress: number[] = [];
  let onGiveUp: (error: EngineError) => void = () => {};
  const givenUp = new Promise<EngineError>((resolve) => {
    onGiveUp = resolve;
  });
  const load = supervisedEngine({
    watchdogTimeoutMs,
    onGiveUp,
    restarts: { firstDelayMs: 10, maxDelayMs: 40, failures, windowMs: 300_000 },
    program: standInProgram,
  });
  const options: LoadOptions = {
    maxQueue: 2,
    onProgress: (bytes, total) => progress.push(bytes / total),
    onMessage: (text) => notes.push(text),
  };
  const engine = load(dir, {} as ModelConfig, options) as LoadedEngine;
  engines.push(engine);
  return { engine, notes, progress, givenUp };
}

let requests = 0;
function submit({ client }: LoadedEngine, fault: Fault, fields: { maxTokens?: number; id?: string } = {}) {
  requests += 1;
  return client.submit(
    makeRequest({ id: `request-${requests}`, prompt: [faults[fault], 100], maxTokens: 6, ...fields }),
  );
}

async function collect(tokens: AsyncIterable<EngineToken>): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of tokens) ids.push(id);
  return ids;
}

/** The error that ends these tokens, with the ids that came before it. */
async function failure(tokens: AsyncIterable<EngineToken>) {
  const ids: number[] = [];
  try {
    for await (const { id } of tokens) ids.push(id);
  } catch (error) {
    return { ids, error: error as EngineError };
  }
  throw new Error(`ended well, after ${ids.join(", ")}`);
}

const pid = (engine: LoadedEngine) => Number(engine.info?.device);
const answersAgain = async (engine: LoadedEngine) => {
  await until(() => engine.health().state === "ready");
  expect(await collect(submit(engine, "none"))).toEqual([101, 102, 103, 104, 105, 106]);
};

function exists(process_: number): boolean {
  try {
    process.kill(process_, 0);
    return true;
  } catch {
    return false;
  }
}

describe("a process that works", () => {
  it("is loading, then ready, and answers", async () => {
    const { engine, progress, notes } = start();
    expect(engine.health()).toEqual({ state: "loading", progress: null, restarts: 0 });
    expect(engine.info).toBeNull();
    expect(() => submit(engine, "none")).toThrow(expect.objectContaining({ code: "ERR_NOT_READY" }));
    await engine.ready();
    expect(engine.health()).toEqual({ state: "ready", progress: null, restarts: 0 });
    expect(engine.info).toMatchObject({ parameters: 5, config: { maxNumSeqs: 4 } });
    expect(engine.client.stats()).toMatchObject({ slotsTotal: 4 });
    expect({ progress, notes }).toEqual({ progress: [0.25], notes: ["a note"] });
    expect(await collect(submit(engine, "none"))).toEqual([101, 102, 103, 104, 105, 106]);
    expect(await engine.score([1, 2, 3])).toEqual(Float32Array.of(-2, -3));
  });

  it("says how far the load is", async () => {
    const { engine } = start("slow");
    await until(() => engine.health().progress !== null);
    expect(engine.health()).toEqual({ state: "loading", progress: 0.25, restarts: 0 });
    await engine.client.close();
    expect(engine.health().state).toBe("stopped");
  });

  it("refuses an id in use, and more requests than may wait", async () => {
    const { engine } = start();
    await engine.ready();
    const running = [submit(engine, "none", { id: "same" })];
    expect(() => submit(engine, "none", { id: "same" })).toThrow(expect.objectContaining({ code: "ERR_REQUEST" }));
    for (let i = 1; i < 6; i++) running.push(submit(engine, "none"));
    expect(() => submit(engine, "none")).toThrow(expect.objectContaining({ code: "ERR_OVERLOADED" }));
    await Promise.all(running.map(collect));
    await answersAgain(engine);
  });

  it("stops working for a reader that leaves, and for an aborted request", async () => {
    const { engine } = start();
    await engine.ready();
    for await (const _ of submit(engine, "none", { maxTokens: 100_000 })) break;
    const aborted = collect(submit(engine, "none", { maxTokens: 100_000, id: "aborted" }));
    await until(() => engine.client.stats().running > 0);
    engine.client.abort("aborted");
    engine.client.abort("unknown");
    await aborted;
    await until(() => engine.client.stats().running === 0);
  });

  it("goes when it is closed, and what runs is told", async () => {
    const { engine } = start();
    await engine.ready();
    const running = failure(submit(engine, "none", { maxTokens: 100_000 }));
    const process_ = pid(engine);
    await engine.client.close();
    expect((await running).error).toMatchObject({ code: "ERR_CLOSED" });
    expect(exists(process_)).toBe(false);
    expect(() => submit(engine, "none")).toThrow(expect.objectContaining({ code: "ERR_CLOSED" }));
    expect(engine.health().state).toBe("stopped");
  });
});

describe("a request's own error", () => {
  it("ends that request only", async () => {
    const { engine } = start();
    await engine.ready();
    const other = collect(submit(engine, "none", { maxTokens: 20 }));
    expect(await failure(submit(engine, "nonFinite"))).toMatchObject({
      ids: [101, 102],
      error: { code: "ERR_NON_FINITE" },
    });
    expect(await other).toHaveLength(20);
    expect(engine.health().restarts).toBe(0);
  });
});

describe("a process that fails is replaced", () => {
  it.each<[Fault, string, RegExp]>([
    ["deviceLost", "ERR_DEVICE_LOST", /an illegal address/],
    ["exit", "ERR_ENGINE_LOST", /exit status 7/],
    ["nonsense", "ERR_ENGINE_LOST", /malformed: version/],
  ])("%s", async (fault, code, reason) => {
    const { engine, notes } = start();
    await engine.ready();
    const process_ = pid(engine);
    const others = [1, 2].map(() => failure(submit(engine, "none", { maxTokens: 100_000 })));
    const failed = await failure(submit(engine, fault));
    expect(failed.error).toMatchObject({ code, message: expect.stringMatching(reason) });
    for (const { error } of await Promise.all(others)) expect(error).toMatchObject({ code: "ERR_ENGINE_LOST" });
    expect(engine.health().state).toBe("restarting");
    expect(() => submit(engine, "none")).toThrow(expect.objectContaining({ code: "ERR_NOT_READY" }));
    await answersAgain(engine);
    expect(pid(engine)).not.toBe(process_);
    expect(exists(process_)).toBe(false);
    expect(engine.health()).toEqual({ state: "ready", progress: null, restarts: 1 });
    expect(notes).toEqual(["a note", expect.stringMatching(reason), "a note", "the engine is ready again"]);
  });

  it("and what it counted goes on", async () => {
    const { engine } = start();
    await engine.ready();
    await collect(submit(engine, "none"));
    await until(() => engine.client.stats().steps >= 6);
    await failure(submit(engine, "exit"));
    expect(engine.client.stats()).toMatchObject({ running: 0, slotsTotal: 0 });
    expect(engine.client.stats().steps).toBeGreaterThanOrEqual(6);
    await answersAgain(engine);
    await until(() => engine.client.stats().steps >= 12);
  });

  it("a scoring that was under way is told, too", async () => {
    const { engine } = start();
    await engine.ready();
    const scores = engine.score([1, 2]);
    process.kill(pid(engine), "SIGKILL");
    // Either it was done before the signal came, or it fails; it never hangs.
    await scores.catch((error: EngineError) => expect(error).toMatchObject({ code: "ERR_ENGINE_LOST" }));
    await until(() => engine.health().restarts === 1);
    await answersAgain(engine);
  });

  // Side by side, because each of them waits for the watchdog.
  it("one that hangs in a step, that blocks, that is stopped", async () => {
    const watched = async (fail: (engine: LoadedEngine) => Promise<void>) => {
      const { engine, notes } = start("good", { watchdogTimeoutMs: 2500 });
      await engine.ready();
      await fail(engine);
      await until(() => engine.health().restarts === 1);
      await answersAgain(engine);
      return notes[1];
    };
    const request = (fault: Fault) => async (engine: LoadedEngine) => {
      expect((await failure(submit(engine, fault))).error).toMatchObject({ code: "ERR_ENGINE_LOST" });
    };
    const stop = async (engine: LoadedEngine) => {
      process.kill(pid(engine), "SIGSTOP");
    };
    expect(await Promise.all([watched(request("hang")), watched(request("block")), watched(stop)])).toEqual([
      expect.stringMatching(/a step took longer than the watchdog allows/),
      expect.stringMatching(/no sign of life/),
      expect.stringMatching(/no sign of life/),
    ]);
  });
});

describe("a model that cannot be loaded", () => {
  it("is an error of the load, at once", async () => {
    const { engine, notes } = start("refused");
    await expect(engine.ready()).rejects.toMatchObject({
      code: "ERR_WEIGHTS",
      message: "the weights are broken",
      subject: "refused",
    });
    expect(engine.health()).toEqual({ state: "stopped", progress: null, restarts: 0 });
    await engine.client.close();
    expect(notes).toEqual([]);
  });

  it("is given up where the process ends each time", async () => {
    const { engine, notes, givenUp } = start("exit", { failures: 3 });
    await expect(engine.ready()).rejects.toMatchObject({ code: "ERR_ENGINE_LOST" });
    expect((await givenUp).message).toMatch(/ended 3 times in 5 minutes, the last time with: exit status 7/);
    expect(engine.health()).toEqual({ state: "stopped", progress: null, restarts: 2 });
    expect(notes).toHaveLength(2);
    await engine.client.close();
  });
});
