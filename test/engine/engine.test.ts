import type { PromptScores } from "../../src/engine/draw/prompt-scores";
import { Engine } from "../../src/engine/engine";
import type { StepResult } from "../../src/engine/model-runner";
import type { EngineToken } from "../../src/engine/policy/request";
import type { ScheduledBatch } from "../../src/engine/policy/step-plan";
import { EngineError } from "../../src/errors";
import { makeRequest } from "../helpers/engine-request";

const limits = { maxNumSeqs: 2, maxNumBatchedTokens: 64, chunkSize: 8, maxModelLen: 100, maxQueue: 4 };

/** Draws the length of each sequence as its next token, unless `draw` says otherwise. */
class FakeRunner {
  readonly steps: ScheduledBatch[] = [];
  draw = (_id: string, length: number): number => length;
  failNext: unknown;

  async step(batch: ScheduledBatch): Promise<StepResult> {
    this.steps.push(batch);
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failNext !== undefined) {
      const error = this.failNext;
      this.failNext = undefined;
      throw error;
    }
    const rows = batch.rows.filter((row) => row.draws > 0);
    const tokens = Int32Array.from(rows, (row) => this.draw(row.sequence.id, row.start + row.numTokens));
    const prompts = batch.rows.flatMap(({ sequence, start, numTokens }): PromptScores[] => {
      const { prompt, promptLogprobs } = sequence.request;
      if (promptLogprobs === undefined) return [];
      const values = Float32Array.from(prompt.slice(start + 1, start + 1 + numTokens), (token) => -token);
      return [{ sequence, first: start + 1, values, ids: new Int32Array(values.length), columns: 1 }];
    });
    return { tokens, ids: null, logprobs: null, prompts };
  }

  transfer = () => [];
}

async function collect(tokens: AsyncIterable<EngineToken>): Promise<EngineToken[]> {
  const all: EngineToken[] = [];
  for await (const token of tokens) all.push(token);
  return all;
}

const ids = (tokens: EngineToken[]) => tokens.map((token) => token.id);

describe.each([{ overlap: true }, { overlap: false }])("%j", ({ overlap }) => {
  let runner: FakeRunner;
  let engine: Engine;
  let freed: number;
  beforeEach(() => {
    freed = 0;
    runner = new FakeRunner();
    engine = new Engine(runner, { ...limits, overlap, numPages: 0, numSnapshots: 0, numHostSnapshots: 0 }, () => {
      freed += 1;
    });
  });

  test("requests of one tick share the first step; more than there are slots wait their turn", async () => {
    const requests = ["a", "b", "c"].map((id) => engine.submit(makeRequest({ id, maxTokens: 3 })));
    const results = await Promise.all(requests.map(collect));
    expect(results.map(ids)).toEqual([
      [3, 4, 5],
      [3, 4, 5],
      [3, 4, 5],
    ]);
    expect(runner.steps[0]!.rows).toHaveLength(2);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0, generatedTokens: 9, promptTokens: 9 });
  });

  test("the rows of each step are counted by kind", async () => {
    const long = collect(engine.submit(makeRequest({ id: "a", prompt: new Array(100 - 3).fill(1), maxTokens: 3 })));
    const short = collect(engine.submit(makeRequest({ id: "b", prompt: [1, 2], maxTokens: 2 })));
    await Promise.all([long, short]);
    const { prefillRows, prefillTokens, decodeTokens, steps } = engine.stats();
    expect({ prefillRows, prefillTokens, decodeTokens, steps }).toEqual({
      prefillRows: runner.steps.reduce((sum, { numPrefills }) => sum + numPrefills, 0),
      prefillTokens: 97 + 2,
      decodeTokens: 2 + 1,
      steps: runner.steps.length,
    });
    expect(prefillRows).toBeGreaterThan(2);
  });

  test("a failed step ends its requests with the error; the next one works", async () => {
    runner.failNext = new EngineError("ERR_DEVICE_LOST", "gone");
    const failed = ["a", "b"].map((id) => collect(engine.submit(makeRequest({ id, maxTokens: 2 }))));
    const waiting = collect(engine.submit(makeRequest({ id: "c", maxTokens: 2 })));
    for (const result of failed) await expect(result).rejects.toMatchObject({ code: "ERR_DEVICE_LOST" });
    expect(ids(await waiting)).toEqual([3, 4]);
    expect(engine.stats().slotsUsed).toBe(0);
  });

  test("logits that are not finite fail their own request only", async () => {
    runner.draw = (id, length) => (id === "broken" && length > 3 ? -1 : length);
    const [broken, sound] = ["broken", "sound"].map((id) => collect(engine.submit(makeRequest({ id, maxTokens: 4 }))));
    await expect(broken).rejects.toMatchObject({ code: "ERR_NON_FINITE" });
    expect(ids(await sound!)).toEqual([3, 4, 5, 6]);
  });

  test("an abort ends the iterable without a finish reason, and gives the slot back", async () => {
    const tokens = engine.submit(makeRequest({ id: "a", maxTokens: 50 }));
    const seen: EngineToken[] = [];
    for await (const token of tokens) {
      seen.push(token);
      if (seen.length === 2) engine.abort("a");
    }
    expect(seen.at(-1)!.finishReason).toBeNull();
    await collect(engine.submit(makeRequest({ id: "b", maxTokens: 1 })));
    expect(engine.stats()).toMatchObject({ running: 0, slotsUsed: 0 });
    engine.abort("unknown");
  });

  test("leaving the loop aborts the request", async () => {
    for await (const _ of engine.submit(makeRequest({ id: "a", maxTokens: 50 }))) break;
    expect(engine.stats().running).toBe(0);
  });

  test("a reader that comes late finds all tokens, and the error after them", async () => {
    const tokens = engine.submit(makeRequest({ id: "a", maxTokens: 2 }));
    await collect(engine.submit(makeRequest({ id: "b", maxTokens: 4 })));
    expect(ids(await collect(tokens))).toEqual([3, 4]);
  });

  test("a fault of the policy fails the requests instead of leaving them to wait, and the next one works", async () => {
    const step = runner.step.bind(runner);
    runner.step = async (batch) => ({ ...(await step(batch)), tokens: new Int32Array(0) }); // fewer than the step draws
    const failed = ["a", "b", "c"].map((id) => collect(engine.submit(makeRequest({ id }))));
    for (const result of failed) await expect(result).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    runner.step = step;
    expect(ids(await collect(engine.submit(makeRequest({ id: "a", maxTokens: 3 }))))).toEqual([3, 4, 5]);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0 });
  });

  test("with overlap, the next step is launched before the last one's tokens have come", async () => {
    let inFlight = 0;
    let most = 0;
    const step = runner.step.bind(runner);
    runner.step = async (batch) => {
      most = Math.max(most, ++inFlight);
      const result = await step(batch);
      inFlight -= 1;
      return result;
    };
    await collect(engine.submit(makeRequest({ id: "a", maxTokens: 5 })));
    expect(most).toBe(overlap ? 2 : 1);
  });

  test("a sequence that stops has one row too many with overlap, and its token is dropped", async () => {
    const stop = makeRequest({ id: "a", maxTokens: 9, stopTokenIds: new Set([5]) });
    expect(ids(await collect(engine.submit(stop)))).toEqual([3, 4, 5]);
    await collect(engine.submit(makeRequest({ id: "b", maxTokens: 1 })));
    expect(runner.steps).toHaveLength(overlap ? 5 : 4);
    expect(engine.stats()).toMatchObject({ running: 0, slotsUsed: 0, generatedTokens: 4 });
  });

  test("a sequence that ends by its length has no row too many", async () => {
    await collect(engine.submit(makeRequest({ id: "a", maxTokens: 3 })));
    expect(runner.steps).toHaveLength(3);
  });

  test("bounds are checked when a request is submitted", () => {
    const refused = (fields: object) => {
      try {
        engine.submit(makeRequest(fields));
      } catch (error) {
        return (error as EngineError).code;
      }
      return null;
    };
    expect(refused({ id: "empty", prompt: [] })).toBe("ERR_REQUEST");
    expect(refused({ id: "long", prompt: new Array(100).fill(1) })).toBe("ERR_TOO_LONG");
    expect([1, 2, 3, 4].map((i) => refused({ id: `${i}` }))).toEqual([null, null, null, null]);
    expect(refused({ id: "1" })).toBe("ERR_REQUEST");
    expect(refused({ id: "5" })).toBe("ERR_OVERLOADED");
  });

  test("closing aborts what runs, frees the device once, and refuses what comes later", async () => {
    const running = collect(engine.submit(makeRequest({ id: "a", maxTokens: 50 })));
    while (runner.steps.length < 3) await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([engine.close(), engine.close()]);
    expect((await running).at(-1)?.finishReason ?? null).toBeNull();
    expect(freed).toBe(1);
    expect(() => engine.submit(makeRequest())).toThrow(expect.objectContaining({ code: "ERR_CLOSED" }));
    await expect(engine.score([1, 2])).rejects.toMatchObject({ code: "ERR_CLOSED" });
  });

  test("a text is scored beside requests, in as many steps as it takes", async () => {
    const text = Array.from({ length: 99 }, (_, i) => i);
    const running = collect(engine.submit(makeRequest({ id: "a", maxTokens: 5 })));
    const scores = await Promise.all([engine.score(text), engine.score([1, 2, 3]), engine.score([7])]);
    expect(scores.map((of) => [...of])).toEqual([text.slice(1).map((token) => -token), [-2, -3], []]);
    expect(ids(await running)).toEqual([3, 4, 5, 6, 7]);
    await expect(engine.score(new Array(100).fill(1))).rejects.toMatchObject({ code: "ERR_TOO_LONG" });
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0 });
  });

  test("a text that is being scored when the engine closes has no scores", async () => {
    const scores = engine.score(Array.from({ length: 99 }, (_, i) => i));
    await Promise.all([expect(scores).rejects.toMatchObject({ code: "ERR_CLOSED" }), engine.close()]);
  });
});
