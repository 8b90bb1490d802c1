/** Whether and how long guesses are, seen from outside: what a scheduler puts into its steps. */

import { AdaptiveProposer } from "../../../src/engine/policy/adaptive-proposer";
import type { SchedulerConfig } from "../../../src/engine/policy/scheduler-config";
import { maxDrawsOf } from "../../../src/engine/policy/speculative-config";
import type { ScheduledBatch } from "../../../src/engine/policy/step-plan";
import { MAX_STEPS_IN_FLIGHT } from "../../../src/engine/policy/steps-in-flight";
import { makeRequest } from "../../helpers/engine-request";
import { Rng } from "../../helpers/rng";
import { free, SlotScheduler } from "../../helpers/slot-scheduler";

const speculative = { method: "ngram", numSpeculativeTokens: 3, promptLookupMin: 1, promptLookupMax: 1 } as const;

/** A device of which a step takes `ms(rows, tokens of each)`, and a text of which a guess is right with a probability. */
interface World {
  readonly rows: number;
  readonly acceptance: number;
  readonly ms: (rows: number, tokensPerRow: number) => number;
  readonly tokens?: number;
  /** What a step takes more that a drafter on the device follows, guesses apart; default: n-grams guess. */
  readonly following?: number;
}

/** Decodes `rows` sequences with guesses until the first ends; gives its speed beside that without any, and the steps. */
function decode({ rows, acceptance, ms, tokens = 256, following = Number.NaN }: World) {
  const onDevice = !Number.isNaN(following);
  const rng = new Rng(1);
  const config: SchedulerConfig = {
    ...{ maxNumSeqs: rows, maxNumBatchedTokens: 4096, chunkSize: 8, maxModelLen: 4096, maxQueue: rows },
    speculative: onDevice ? { method: "mtp", numSpeculativeTokens: 3 } : speculative,
  };
  const guess = (_: unknown, most: number) => new Array<number>(most).fill(1);
  const scheduler = new SlotScheduler(config, { proposer: new AdaptiveProposer(guess, onDevice ? 0.12 : 0) });
  for (let i = 0; i < rows; i++) {
    scheduler.add(makeRequest({ id: `${i}`, prompt: [1, 2, 3], maxTokens: tokens }));
  }
  const inFlight: ScheduledBatch[] = [];
  const steps: { length: number; lags: boolean; overlapped: boolean; follows: boolean }[] = [];
  let [time, delivered, done] = [0, 0, false];
  while (!done) {
    while (inFlight.length < MAX_STEPS_IN_FLIGHT) {
      const overlapped = inFlight.length > 0;
      const batch = scheduler.schedule();
      if (batch === null) break;
      inFlight.push(batch);
      if (batch.numPrefills > 0) continue;
      const lags = batch.rows.some(({ replay, numTokens }) => replay!.held > 0 || numTokens > 1);
      steps.push({ length: batch.rows[0]!.numTokens, lags, overlapped, follows: batch.follows !== false });
    }
    const batch = inFlight.shift();
    if (batch === undefined) throw new Error("no step to commit");
    const drawn: number[] = [];
    for (const { draws, drafts, proposed = 0 } of batch.rows) {
      const own = new Array<number>(draws).fill(2);
      for (let i = 0; i < proposed && rng.next() < acceptance; i++) own[i] = drafts[i]!;
      drawn.push(...own);
    }
    const own = onDevice && batch.follows !== false ? following : 0;
    const took = batch.numPrefills > 0 ? 0 : ms(batch.rows.length, batch.rows[0]!.numTokens) + own;
    time += took;
    const outputs = scheduler.commit(batch, drawn, took);
    if (batch.numPrefills === 0) delivered += outputs.length;
    done = outputs.some(({ finishReason }) => finishReason !== null);
  }
  return { steps, speedup: (delivered / rows) * (ms(rows, 1) / time) };
}

/** A device that reads so much that another token of a row costs little, and one that is busy with one. */
const idle = (_: number, tokens: number) => 10 + 0.4 * (tokens - 1);
const busy = (_: number, tokens: number) => 10 * tokens;

test.each([1, 8, 64])("%i rows, no guess right: as without guesses but for a few steps", (rows) => {
  for (const ms of [idle, busy]) {
    const { steps, speedup } = decode({ rows, acceptance: 0, ms });
    expect(speedup).toBeGreaterThan(0.97);
    expect(steps.filter(({ lags }) => lags).length).toBeLessThan(30);
    expect(steps.filter(({ lags, overlapped }) => !lags && !overlapped).length).toBeLessThan(30);
  }
});

test.each([1, 8, 64])("%i rows, three of four right, the device idle: long guesses", (rows) => {
  const { steps, speedup } = decode({ rows, acceptance: 0.75, ms: idle });
  expect(speedup).toBeGreaterThan(2.2);
  expect(steps.filter(({ length }) => length === 4).length).toBeGreaterThan(0.8 * steps.length);
});

test("where a token more costs as much as a step, nothing is guessed, however right guesses are", () => {
  const { steps, speedup } = decode({ rows: 8, acceptance: 1, ms: busy });
  expect(speedup).toBeGreaterThan(0.97);
  expect(steps.filter(({ length }) => length > 1).length).toBeLessThan(20); // each length is tried now and then
});

test("guesses are as long as pays", () => {
  // The third token of a row begins another tile of a kernel.
  const ms = (_: number, tokens: number) => (tokens <= 2 ? 10 : 25);
  const { steps } = decode({ rows: 1, acceptance: 0.75, ms });
  const count = (length: number) => steps.filter((step) => step.length === length).length;
  expect(count(2)).toBeGreaterThan(0.8 * steps.length);
});

test("times of steps with prefills are not those of decodes", () => {
  const timed: string[] = [];
  const costs = { observe: (rows: number, tokens: number, ms: number) => timed.push(`${rows} x ${tokens}: ${ms}`) };
  const config = { maxNumSeqs: 2, maxNumBatchedTokens: 64, chunkSize: 8, maxModelLen: 100, maxQueue: 2, speculative };
  const proposer = new AdaptiveProposer((_, most) => new Array<number>(most).fill(1));
  const scheduler = new SlotScheduler(config, { proposer, stepCosts: { ...free, ...costs } });
  const step = (ms: number) => {
    const batch = scheduler.schedule()!;
    scheduler.commit(batch, new Int32Array(batch.numDraws).fill(2), ms);
  };
  scheduler.add(makeRequest({ id: "a", prompt: [1, 2, 3] }));
  step(50); // a prefill
  step(10);
  scheduler.add(makeRequest({ id: "b", prompt: [1, 2, 3] }));
  step(60); // a prefill beside a decode
  step(11);
  expect(timed).toEqual(["1 x 4: 10", "2 x 4: 11"]);
});

test("a length is found beyond ones that do not pay", () => {
  // As on a CPU: two tokens take as long as eight.
  const ms = (_: number, tokens: number) => (tokens === 1 ? 10 : 30);
  const { steps, speedup } = decode({ rows: 1, acceptance: 0.98, ms, tokens: 2000 });
  expect(speedup).toBeGreaterThan(1.15);
  expect(steps.filter(({ length }) => length === 4).length).toBeGreaterThan(0.7 * steps.length);
});

test("a length of which nothing is known is not tried for a guess that will hardly be right", () => {
  // Times of longer steps grow old, and are not found out again.
  const ms = (_: number, tokens: number) => (tokens <= 2 ? 10 + 0.5 * (tokens - 1) : 10 * tokens);
  const { steps } = decode({ rows: 1, acceptance: 0, ms, tokens: 1000 });
  expect(steps.some(({ length }) => length === 2)).toBe(true);
  expect(steps.slice(100).filter(({ length }) => length > 2)).toEqual([]);
});

test("rows without guesses settle, and states that do not lag take the plain update from then on", () => {
  const { steps } = decode({ rows: 4, acceptance: 0, ms: idle });
  for (const [i, { length, lags }] of steps.entries()) {
    if (length === 1 && (i === 0 || steps[i - 1]!.length === 1)) expect(lags).toBe(false);
  }
});

test("guesses leave room for the draws of prompts that end in the same step", () => {
  const config = {
    ...{ maxNumSeqs: 128, maxNumBatchedTokens: 4096, chunkSize: 8, maxModelLen: 4096, maxQueue: 1000 },
    speculative,
  };
  const proposer = new AdaptiveProposer((_, most) => new Array<number>(most).fill(1));
  const scheduler = new SlotScheduler(config, { proposer, stepCosts: free });
  const add = (id: string, maxTokens: number) => scheduler.add(makeRequest({ id, prompt: [1, 2, 3], maxTokens }));
  for (let i = 0; i < 64; i++) add(`long ${i}`, 500);
  const full = maxDrawsOf(config);
  const step = () => {
    const batch = scheduler.schedule()!;
    scheduler.commit(batch, new Array<number>(batch.numDraws).fill(1), 1);
    return { draws: batch.numDraws, ofDecodes: batch.rows.at(-1)!.draws };
  };
  step(); // the prompts of those
  expect(step()).toEqual({ draws: full, ofDecodes: 4 });
  for (const id of ["short 0", "short 1"]) add(id, 1);
  expect(step()).toEqual({ draws: 64 * 3 + 2, ofDecodes: 3 });
});

describe("a drafter on the device", () => {
  test.each([1, 8, 64])("%i rows, no guess right: it is left behind, and steps are those without guesses", (rows) => {
    const { steps, speedup } = decode({ rows, acceptance: 0, ms: idle, following: 0.5, tokens: 512 });
    expect(steps.slice(-200).some(({ follows, length, overlapped }) => follows || length > 1 || !overlapped)).toBe(
      false,
    );
    expect(speedup).toBeGreaterThan(0.96);
  });

  test("it goes along as long as guesses are right now and then", () => {
    const { steps } = decode({ rows: 8, acceptance: 0.4, ms: idle, following: 0.5 });
    expect(steps.every(({ follows }) => follows)).toBe(true);
  });

  test("where a token more costs as much as a step, it is left behind however right guesses are", () => {
    const { steps, speedup } = decode({ rows: 8, acceptance: 1, ms: busy, following: 0.5 });
    const lastTried = steps.findLastIndex(({ length }) => length > 1);
    expect(steps.findLastIndex(({ follows }) => follows)).toBe(lastTried + 8); // a time may be wrong once
    expect(steps.slice(30).some(({ follows }) => follows)).toBe(false);
    expect(speedup).toBeGreaterThan(0.97);
  });
});
