import type { EngineRequest } from "../../../src/engine/policy/request";
import type { SchedulerConfig } from "../../../src/engine/policy/scheduler-config";
import type { ScheduledBatch } from "../../../src/engine/policy/step-plan";
import { makeRequest, promptOf } from "../../helpers/engine-request";
import { SlotScheduler } from "../../helpers/slot-scheduler";

const config: SchedulerConfig = {
  maxNumSeqs: 4,
  maxNumBatchedTokens: 32,
  chunkSize: 8,
  maxModelLen: 1000,
  maxQueue: 8,
};

const schedulerOf = (fields: Partial<SchedulerConfig> = {}) => new SlotScheduler({ ...config, ...fields });

function add(scheduler: SlotScheduler, id: string, length: number, fields: Partial<EngineRequest> = {}) {
  return scheduler.add(makeRequest({ id, prompt: promptOf(length), ...fields }));
}

/** "id:numTokens" per row; prefills | decodes. */
function show(batch: ScheduledBatch | null): string {
  if (batch === null) return "nothing";
  const rows = batch.rows.map(({ sequence, numTokens }) => `${sequence.id}:${numTokens}`);
  return `${rows.slice(0, batch.numPrefills).join(" ")} | ${rows.slice(batch.numPrefills).join(" ")}`.trim();
}

/** One step in which every row that samples draws `token`. */
function step(scheduler: SlotScheduler, token = 7): string {
  const batch = scheduler.schedule();
  if (batch !== null) scheduler.commit(batch, new Int32Array(batch.numDraws).fill(token));
  return show(batch);
}

const steps = (scheduler: SlotScheduler, count: number) => Array.from({ length: count }, () => step(scheduler));

const failsWith = (code: string) => expect.objectContaining({ code });

describe("the token budget", () => {
  test("goes to decodes first; prefills come first in the batch", () => {
    const scheduler = schedulerOf();
    add(scheduler, "a", 3);
    expect(step(scheduler)).toBe("a:3 |");
    add(scheduler, "b", 100);
    expect(step(scheduler)).toBe("b:24 | a:1");
  });

  test("cuts a prefill at multiples of the chunk, except where it ends", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 20 });
    add(scheduler, "a", 43, { maxTokens: 2 });
    expect(steps(scheduler, 5)).toEqual(["a:16 |", "a:16 |", "a:11 |", "| a:1", "nothing"]);
  });

  test("below one chunk cuts anywhere, and comes back to multiples once it can", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 10, chunkSize: 16 });
    add(scheduler, "a", 40, { maxTokens: 1 });
    expect(steps(scheduler, 5)).toEqual(["a:10 |", "a:6 |", "a:10 |", "a:6 |", "a:8 |"]);
  });

  test("left over below one chunk is not spent on a second prefill that does not end in it", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 20 });
    add(scheduler, "a", 15, { maxTokens: 1 });
    add(scheduler, "b", 9, { maxTokens: 1 });
    expect(steps(scheduler, 2)).toEqual(["a:15 |", "b:9 |"]);
    add(scheduler, "c", 15, { maxTokens: 1 });
    add(scheduler, "d", 5, { maxTokens: 1 });
    expect(step(scheduler)).toBe("c:15 d:5 |");
  });

  test("a prompt token that is left alone on top of a state is a prefill, and draws the first token", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 8 });
    const sequence = add(scheduler, "a", 9, { maxTokens: 1 });
    expect(steps(scheduler, 2)).toEqual(["a:8 |", "a:1 |"]);
    expect(sequence).toMatchObject({ finishReason: "length", numGenerated: 1 });
  });

  test("a step of one token inside a prompt is a prefill that draws nothing", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 1, maxNumBatchedTokens: 1 });
    add(scheduler, "a", 3, { maxTokens: 1 });
    const first = scheduler.schedule()!;
    expect([show(first), first.numDraws]).toEqual(["a:1 |", 0]);
    expect(scheduler.commit(first, [])).toEqual([]);
    const second = scheduler.schedule()!;
    expect([show(second), second.numDraws]).toEqual(["a:1 |", 0]);
    scheduler.commit(second, []);
    expect(scheduler.schedule()).toMatchObject({ numDraws: 1 });
  });
});

describe("order", () => {
  test("is priority, then arrival; the head of the queue is not overtaken", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 1 });
    for (const [id, priority] of [
      ["a", 1],
      ["b", 0],
      ["c", 1],
      ["d", 0],
    ] as const) {
      add(scheduler, id, 5, { priority, maxTokens: 1 });
    }
    expect(steps(scheduler, 5)).toEqual(["b:5 |", "d:5 |", "a:5 |", "c:5 |", "nothing"]);
  });

  test("an urgent request takes the prefill budget from a long one, which goes on after it", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 16 });
    add(scheduler, "long", 48, { priority: 1 });
    step(scheduler);
    add(scheduler, "urgent", 16, { priority: 0, maxTokens: 1 });
    expect(steps(scheduler, 2)).toEqual(["urgent:16 |", "long:16 |"]);
  });

  test("a stream of short prompts does not starve a long one, nor it a decode", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 16, maxQueue: 100 });
    add(scheduler, "decode", 1, { maxTokens: 100 });
    step(scheduler);
    const long = add(scheduler, "long", 80);
    for (let i = 0; i < 10; i++) {
      add(scheduler, `short${i}`, 5);
      expect(step(scheduler)).toMatch(/decode:1/);
    }
    expect(long.numGenerated).toBeGreaterThan(0);
  });
});

describe("preemption", () => {
  test("takes the slot of the lowest, youngest running sequence and computes it again later", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 3 });
    add(scheduler, "old", 4, { priority: 1, maxTokens: 3 });
    const young = add(scheduler, "young", 4, { priority: 1, maxTokens: 4 });
    add(scheduler, "high", 4, { priority: 0, maxTokens: 3 });
    expect(steps(scheduler, 2)).toEqual(["high:4 old:4 young:4 |", "| high:1 old:1 young:1"]);
    add(scheduler, "urgent", 4, { priority: -1, maxTokens: 1 });
    expect(step(scheduler)).toBe("urgent:4 | high:1 old:1");
    expect(young).toMatchObject({ slot: -1, numComputed: 0, numGenerated: 2, finishReason: null });
    expect(scheduler.numPreemptions).toBe(1);
    expect(steps(scheduler, 3)).toEqual(["young:6 |", "| young:1", "nothing"]);
    expect(young).toMatchObject({ numGenerated: 4, finishReason: "length" });
  });

  test("never happens within a priority", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 1 });
    add(scheduler, "a", 4);
    step(scheduler);
    add(scheduler, "b", 4);
    expect(steps(scheduler, 2)).toEqual(["| a:1", "| a:1"]);
  });

  test("waits until the newcomer can also have tokens", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 2, maxNumBatchedTokens: 15 });
    add(scheduler, "low", 4, { priority: 2 });
    step(scheduler);
    add(scheduler, "first", 32, { priority: 0 });
    step(scheduler);
    add(scheduler, "second", 32, { priority: 1 });
    const meanwhile = "first:8 | low:1";
    expect(steps(scheduler, 4)).toEqual([meanwhile, meanwhile, meanwhile, "second:8 | first:1"]);
  });

  test("works when decodes use the whole budget", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 2, maxNumBatchedTokens: 2 });
    add(scheduler, "a", 1, { priority: 1 });
    add(scheduler, "b", 1, { priority: 1 });
    step(scheduler);
    add(scheduler, "urgent", 1, { priority: 0 });
    expect(step(scheduler)).toBe("urgent:1 | a:1");
  });

  test("a preempted sequence comes back even when the queue is full", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 1, maxQueue: 1 });
    add(scheduler, "a", 4, { priority: 1, maxTokens: 2 });
    step(scheduler);
    add(scheduler, "b", 4, { maxTokens: 1 });
    expect(step(scheduler)).toBe("b:4 |");
    expect(scheduler.numWaiting).toBe(1);
    expect(steps(scheduler, 2)).toEqual(["a:5 |", "nothing"]);
  });
});

describe("commit", () => {
  test("returns the drawn tokens with their place among the logits, and frees the slots of finished ones", () => {
    const scheduler = schedulerOf({ maxNumBatchedTokens: 16 });
    const stopped = add(scheduler, "stopped", 4, { stopTokenIds: new Set([5]) });
    const full = add(scheduler, "full", 4, { maxTokens: 1 });
    add(scheduler, "chunk", 20);
    const batch = scheduler.schedule()!;
    expect(show(batch)).toBe("stopped:4 full:4 chunk:8 |");
    expect(scheduler.commit(batch, [5, 6, 999])).toEqual([
      { sequence: stopped, token: 5, finishReason: "stop", logitsRow: 0 },
      { sequence: full, token: 6, finishReason: "length", logitsRow: 1 },
    ]);
    expect([stopped.finishReason, stopped.slot, full.finishReason]).toEqual(["stop", -1, "length"]);
    expect([scheduler.slots.numUsed, scheduler.numRunning]).toEqual([1, 1]);
  });

  test("ends a sequence whose logits were not finite, without a token", () => {
    const scheduler = schedulerOf();
    const bad = add(scheduler, "bad", 4);
    const good = add(scheduler, "good", 4);
    const outputs = scheduler.commit(scheduler.schedule()!, [-1, 3]);
    expect(outputs[0]).toEqual({ sequence: bad, token: -1, finishReason: "abort", logitsRow: 0 });
    expect([bad.numGenerated, bad.finishReason, good.numGenerated]).toEqual([0, "abort", 1]);
    expect(scheduler.slots.numUsed).toBe(1);
  });

  test("takes each scheduled step once, in order, with all its tokens", () => {
    const scheduler = schedulerOf();
    add(scheduler, "a", 4);
    const batch = scheduler.schedule()!;
    const next = scheduler.schedule()!;
    expect(() => scheduler.schedule()).toThrow(failsWith("ERR_ARGUMENT"));
    expect(() => scheduler.commit(next, [1])).toThrow(failsWith("ERR_ARGUMENT"));
    expect(() => scheduler.commit({ ...batch }, [1])).toThrow(failsWith("ERR_ARGUMENT"));
    expect(() => scheduler.commit(batch, [])).toThrow(failsWith("ERR_ARGUMENT"));
    expect(scheduler.commit(batch, [1])).toHaveLength(1);
    expect(() => scheduler.commit(batch, [1])).toThrow(failsWith("ERR_ARGUMENT"));
  });

  test("a failed step ends the sequences in it and no others", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 2 });
    const [a, b, c] = ["a", "b", "c"].map((id) => add(scheduler, id, 4, { maxTokens: 1 }));
    const batch = scheduler.schedule()!;
    scheduler.abort("a");
    expect(scheduler.fail(batch)).toEqual([b]);
    expect([a!.finishReason, b!.finishReason, c!.finishReason]).toEqual(["abort", "abort", null]);
    expect([scheduler.slots.numUsed, step(scheduler)]).toEqual([0, "c:4 |"]);
  });
});

describe("abort", () => {
  test("of a waiting request takes it out of the queue", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 1 });
    add(scheduler, "a", 4, { maxTokens: 1 });
    const waiting = add(scheduler, "b", 4);
    expect([scheduler.abort("b"), waiting.finishReason, scheduler.numWaiting]).toEqual([true, "abort", 1]);
    expect(steps(scheduler, 2)).toEqual(["a:4 |", "nothing"]);
  });

  test("of a running request frees its slot at once", () => {
    const scheduler = schedulerOf();
    add(scheduler, "a", 4);
    step(scheduler);
    expect([scheduler.abort("a"), scheduler.slots.numUsed, step(scheduler)]).toEqual([true, 0, "nothing"]);
  });

  test("during a step keeps the slot until the commit, and drops the token", () => {
    const scheduler = schedulerOf();
    const aborted = add(scheduler, "a", 4);
    add(scheduler, "b", 4);
    const batch = scheduler.schedule()!;
    scheduler.abort("a");
    expect([scheduler.slots.numUsed, scheduler.numRunning]).toEqual([2, 1]);
    add(scheduler, "a", 6); // the id is free again
    const outputs = scheduler.commit(batch, [7, 8]);
    expect(outputs.map(({ sequence, token, logitsRow }) => [sequence.id, token, logitsRow])).toEqual([["b", 8, 1]]);
    expect([aborted.numGenerated, aborted.slot, scheduler.slots.numUsed]).toEqual([0, -1, 1]);
    expect(step(scheduler)).toBe("a:6 | b:1");
  });

  test("of an unknown or finished request does nothing", () => {
    const scheduler = schedulerOf();
    const sequence = add(scheduler, "a", 4, { maxTokens: 1 });
    step(scheduler);
    expect([scheduler.abort("a"), scheduler.abort("b"), sequence.finishReason]).toEqual([false, false, "length"]);
  });
});

describe("what is refused", () => {
  test.each([
    ["an empty prompt", { prompt: [] }, "ERR_REQUEST"],
    ["no new token", { maxTokens: 0 }, "ERR_REQUEST"],
    ["an id in use", { id: "used" }, "ERR_REQUEST"],
    ["a prompt that fills the context", { prompt: promptOf(1000) }, "ERR_TOO_LONG"],
  ])("%s", (_, fields, code) => {
    const scheduler = schedulerOf();
    add(scheduler, "used", 999);
    expect(() => scheduler.add(makeRequest(fields))).toThrow(failsWith(code));
    expect(scheduler.numWaiting).toBe(1);
  });

  test("a request past the queue, until one is admitted", () => {
    const scheduler = schedulerOf({ maxNumSeqs: 1, maxQueue: 2 });
    add(scheduler, "a", 4);
    add(scheduler, "b", 4);
    expect(() => add(scheduler, "c", 4)).toThrow(failsWith("ERR_OVERLOADED"));
    step(scheduler);
    add(scheduler, "c", 4);
    expect(scheduler.numWaiting).toBe(2);
  });

  test.each([{ maxNumSeqs: 0 }, { maxNumBatchedTokens: 3 }, { chunkSize: 0 }, { maxModelLen: 1 }, { maxQueue: 0.5 }])(
    "the config %j",
    (fields) => {
      const error = expect.objectContaining({ code: "ERR_ARGUMENT", subject: Object.keys(fields)[0] });
      expect(() => schedulerOf(fields)).toThrow(error);
    },
  );
});
