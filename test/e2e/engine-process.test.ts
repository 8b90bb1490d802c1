/** The bundled model in a process of its own gives what it gives in this one, and its failures are seen and mended. */

import { LLM } from "../../src/llm/llm";
import type { GenerateParams, GenerationResult } from "../../src/llm/types";
import { engineInChild } from "../helpers/engine-in-child";
import { enginePid, isAlive } from "../helpers/processes";
import { until } from "../helpers/until";

const options = { maxNumSeqs: 16 };
let here: LLM;
let there: LLM;
beforeAll(async () => {
  here = await LLM.load(undefined, options);
  there = await LLM.load(undefined, options, engineInChild());
  await there.ready();
});
afterAll(() => Promise.all([here.close(), there.close()]));

it("says the same of itself", () => {
  expect(there.info).toEqual(here.info);
});

it("64 requests at once get the same tokens and log probabilities", async () => {
  const params = (i: number): GenerateParams => ({
    maxTokens: 8 + (i % 24),
    temperature: i % 3 === 0 ? 0 : 1,
    seed: i,
    ...(i % 4 === 0 ? { logprobs: i % 21 } : {}),
    ...(i % 5 === 0 ? { repetitionPenalty: 1.3, presencePenalty: 0.5 } : {}),
  });
  const all = (llm: LLM): Promise<GenerationResult[]> =>
    Promise.all(Array.from({ length: 64 }, (_, i) => llm.generate(`Once upon a time there were ${i}`, params(i))));
  expect(await all(there)).toEqual(await all(here));
});

it("scores a text alike", async () => {
  const ids = await here.tokenize("The king had a ship, and the ship had a king.");
  expect(await there.score(ids)).toEqual(await here.score(ids));
});

it("an abort and a reader that leaves reach it", async () => {
  const long: GenerateParams = { maxTokens: 100_000, ignoreEos: true };
  const controller = new AbortController();
  const aborted = there.generate("x", { ...long, signal: controller.signal });
  const first = aborted[Symbol.asyncIterator]();
  await first.next();
  controller.abort();
  while (!(await first.next()).done);
  for await (const _ of there.generate("x", long)) break;
  await until(() => there.stats().running + there.stats().slotsUsed === 0);
  expect(there.stats()).toMatchObject({ waiting: 0 });
});

it("kill -9 while requests run: each fails, and the next one succeeds", async () => {
  const before = await there.generate("Once upon a time", { maxTokens: 16, temperature: 0 });
  const running = Array.from({ length: 20 }, () => there.generate("x", { maxTokens: 100_000, ignoreEos: true }));
  const outcomes = Promise.allSettled(running);
  await until(() => there.stats().running === 16);
  const pid = await enginePid(process.pid);
  process.kill(pid, "SIGKILL");
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "ERR_ENGINE_LOST" } });
  }
  expect(there.health()).toMatchObject({ state: "restarting" });
  await expect(there.generate("x").then()).rejects.toMatchObject({ code: "ERR_NOT_READY" });
  await until(() => there.health().state === "ready");
  expect(await there.generate("Once upon a time", { maxTokens: 16, temperature: 0 })).toEqual(before);
  expect(there.health().restarts).toBe(1);
  expect(isAlive(pid)).toBe(false);
});
