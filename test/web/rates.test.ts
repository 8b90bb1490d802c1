import { cachedShare, noRates, ratesBetween } from "../../web/rates.js";

const counted = { prefix_cache_queries: 0, prefix_cache_hits: 0 };
const idle = {
  status: "ok",
  running: 0,
  waiting: 0,
  slots_used: 0,
  slots_total: 4,
  pages_used: 0,
  pages_total: 0,
  ...{ prefix_cache_states_used: 0, prefix_cache_states_total: 0, deterministic: false },
  ...{ prefix_cache_host_states_used: 0, prefix_cache_host_states_total: 0 },
  ttft_ms: null,
  itl_ms: null,
  ...counted,
};
const none = { steps: 0, generated_tokens: 0, prefill_rows: 0, prefill_tokens: 0, decode_tokens: 0 };
const before = {
  ...idle,
  steps: 100,
  generated_tokens: 500,
  prefill_rows: 10,
  prefill_tokens: 800,
  decode_tokens: 490,
};

it("has rates of what was added, and the mean step", () => {
  const after = {
    ...before,
    steps: 110,
    generated_tokens: 540,
    prefill_rows: 15,
    prefill_tokens: 1800,
    decode_tokens: 525,
  };
  expect(ratesBetween(before, after, 2)).toEqual({
    generated: 20,
    prefilled: 500,
    steps: 5,
    prefillRows: 0.5,
    prefillTokens: 100,
    decodes: 3.5,
  });
});

it("is all zero where nothing happened or no time has passed", () => {
  expect(ratesBetween(before, before, 1)).toEqual(noRates);
  expect(ratesBetween(before, { ...before, steps: 200 }, 0)).toEqual(noRates);
});

it("starts over with an engine that was started again", () => {
  expect(ratesBetween(before, { ...idle, ...none }, 1)).toEqual(noRates);
  const after = { ...idle, ...none, steps: 2, generated_tokens: 3, decode_tokens: 3 };
  expect(ratesBetween(before, after, 1)).toMatchObject({ generated: 3, steps: 2, decodes: 1.5 });
});

it("shows how much of the prompts was cached, once there was one", () => {
  expect(cachedShare(counted)).toBe("–");
  expect(cachedShare({ prefix_cache_queries: 300, prefix_cache_hits: 200 })).toBe("67 %");
});
