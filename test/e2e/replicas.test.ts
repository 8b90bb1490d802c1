/** The bundled model in two processes behind one: answers, routing by beginnings, and what a process takes with it. */
import { setTimeout as sleep } from "node:timers/promises";
import { LLM } from "../../src/llm/llm";
import type { LoadOptions } from "../../src/llm/load-engine";
import { engineProgram } from "../../src/supervisor/engine-process";
import { ReplicatedEngine } from "../../src/supervisor/replicated-engine";
import { engineRegister } from "../helpers/engine-in-child";
import { enginePid } from "../helpers/processes";
import { Rng } from "../helpers/rng";
import { until } from "../helpers/until";

const options: LoadOptions = { device: "cpu", maxNumSeqs: 16 };
const loaded: ReplicatedEngine[] = [];
const open: LLM[] = [];

async function start(count: number): Promise<LLM> {
  const supervisor = {
    watchdogTimeoutMs: 60_000,
    onGiveUp: () => {},
    program: { ...engineProgram, execArgv: engineRegister },
  };
  const engineOf = ReplicatedEngine.loader(count, supervisor, (engine) => loaded.push(engine));
  const llm = await LLM.load(undefined, options, engineOf);
  open.push(llm);
  await llm.ready();
  return llm;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((llm) => llm.close()));
  loaded.length = 0;
});

/** Requests of 24 conversations in random order, 8 at once; each begins like the others of its conversation. */
async function share(llm: LLM): Promise<number> {
  const rng = new Rng(3);
  const groups = Array.from({ length: 24 }, () => Array.from({ length: 256 }, () => 300 + rng.integer(0, 3000)));
  const prompts = Array.from({ length: 240 }, (_, i) => [...groups[rng.integer(0, groups.length - 1)]!, 300 + i, 301]);
  const next = prompts.values();
  const client = async () => {
    for (const prompt of next) await llm.generate(prompt, { maxTokens: 4, temperature: 0, ignoreEos: true });
  };
  await Promise.all(Array.from({ length: 8 }, client));
  await sleep(600); // the last numbers come within half a second
  const { prefixCacheHits, prefixCacheQueries } = llm.stats();
  return prefixCacheHits / prefixCacheQueries;
}

test("two replicas find at least nine tenths of what one engine finds, and share the work", async () => {
  const one = await share(await start(1));
  const two = await start(2);
  const found = await share(two);
  console.info(`of the prompts' tokens one engine finds ${one.toFixed(3)}, two replicas ${found.toFixed(3)}`);
  expect(one).toBeGreaterThan(0.6);
  expect(found / one).toBeGreaterThan(0.9);
  const prompts = loaded
    .at(-1)!
    .replicaStats()
    .map(({ promptTokens }) => promptTokens);
  expect(Math.min(...prompts) / Math.max(...prompts)).toBeGreaterThan(0.25);
}, 240_000);

test("kill -9 of one: its requests fail, the others and new ones do not, and it comes back", async () => {
  const llm = await start(2);
  expect(llm.health()).toMatchObject({ state: "ready", replicas: { ready: 2, total: 2 } });
  const long = { maxTokens: 100_000, ignoreEos: true };
  const running = Array.from({ length: 8 }, (_, i) => llm.generate([300 + i], { ...long, seed: i }));
  const controllers = running.map(() => new AbortController());
  const outcomes = running.map((generation, i) =>
    (async () => {
      let tokens = 0;
      for await (const { tokenIds } of generation) {
        tokens += tokenIds.length;
        if (controllers[i]!.signal.aborted) break;
      }
      return tokens;
    })(),
  );
  const failures = outcomes.map((outcome) => outcome.then(() => null).catch((error: { code: string }) => error.code));
  let failed = 0;
  for (const failure of failures) void failure.then((code) => code !== null && failed++);
  await until(() => llm.stats().running === 8);

  process.kill(await enginePid(process.pid), "SIGKILL");
  await until(() => failed > 0);
  await sleep(50);
  expect(failed).toBe(4);
  expect(llm.health()).toMatchObject({ state: "ready", replicas: { ready: 1, total: 2 } });
  expect((await llm.generate("Once", { maxTokens: 4 })).finishReason).toBe("length");
  for (const controller of controllers) controller.abort();
  expect((await Promise.all(failures)).filter((code) => code !== null)).toEqual(Array(4).fill("ERR_ENGINE_LOST"));
  await until(() => llm.health().replicas?.ready === 2);
  expect(llm.health().restarts).toBe(1);
}, 120_000);

test("a restart of all loses nothing", async () => {
  const llm = await start(2);
  const first = await enginePid(process.pid);
  let restarted = false;
  const restart = loaded[0]!.restart().then(() => {
    restarted = true;
  });
  let answers = 0;
  while (!restarted) {
    const { finishReason } = await llm.generate(`Once upon a time there were ${answers}`, {
      maxTokens: 8,
      ignoreEos: true,
    });
    expect(finishReason).toBe("length");
    answers += 1;
  }
  await restart;
  expect(answers).toBeGreaterThan(5);
  expect(await enginePid(process.pid, first)).not.toBe(first);
  expect(llm.health()).toMatchObject({ state: "ready", restarts: 0, replicas: { ready: 2, total: 2 } });
}, 120_000);
