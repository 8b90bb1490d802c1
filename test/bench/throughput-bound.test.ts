import { StepTimes } from "../../src/bench/step-times";
import { throughputBound } from "../../src/bench/throughput-bound";

const config = { maxNumSeqs: 2, maxNumBatchedTokens: 66, chunkSize: 16, maxModelLen: 1000, maxQueue: 1 };
/** A decode takes 1 ms, and 1 ms more for each further sequence; a prefill 10 ms for every 64 tokens. */
const times = new StepTimes({
  decode: [
    { size: 1, ms: 1 },
    { size: 2, ms: 2 },
  ],
  prefill: [
    { size: 64, ms: 10 },
    { size: 128, ms: 20 },
  ],
});
const request = (promptTokens: number, outputTokens: number) => ({
  prompt: new Array<number>(promptTokens).fill(1),
  outputTokens,
});

test("one request: a prefill, which draws the first token, and a decode for each further one", () => {
  expect(throughputBound([request(64, 5)], config, times)).toEqual({
    steps: 5,
    deviceSeconds: 0.014,
    outputTokensPerSecond: 5 / 0.014,
  });
});

test("a prompt above the budget is cut as the scheduler cuts it", () => {
  // 66 of budget: 64 on the chunk's edge, then 36, which take as long as 64.
  expect(throughputBound([request(100, 1)], config, times)).toMatchObject({ steps: 2, deviceSeconds: 0.02 });
});

test("more requests than sequences wait for a place, however short the queue", () => {
  // 32 + 32 tokens together, then 2 steps of 2 decodes; the third request alone: its prefill and 2 decodes.
  const bound = throughputBound([request(32, 3), request(32, 3), request(64, 3)], config, times);
  expect(bound.steps).toBe(6);
  expect(bound.deviceSeconds).toBeCloseTo(0.01 + 2 * 0.002 + 0.01 + 2 * 0.001, 9);
  expect(bound.outputTokensPerSecond).toBeCloseTo(9 / 0.026, 6);
});

test("a step of both kinds takes both", () => {
  // 64 and 32 tokens do not fit together; the second prefill shares its step with the first one's decode.
  const bound = throughputBound([request(64, 2), request(32, 1)], { ...config, maxNumBatchedTokens: 64 }, times);
  expect(bound).toMatchObject({ steps: 2, deviceSeconds: 0.02 });
});
