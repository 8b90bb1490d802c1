import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel({ delayMs: 5 });
const app = buildApp(model);
afterAll(() => app.close());

const stats = async () => (await app.inject("/engine/stats")).json();

it("has the engine's counts, and no latency before there was a request", async () => {
  model.steps = { steps: 9, promptTokens: 20, generatedTokens: 7, prefillRows: 2, prefillTokens: 19, decodeTokens: 5 };
  expect(await stats()).toEqual({
    status: "ok",
    running: 0,
    waiting: 0,
    slots_used: 0,
    slots_total: 64,
    pages_used: 0,
    pages_total: 0,
    steps: 9,
    prompt_tokens: 20,
    generated_tokens: 7,
    prefill_rows: 2,
    prefill_tokens: 19,
    decode_tokens: 5,
    prefix_cache_queries: 40,
    prefix_cache_hits: 30,
    prefix_cache_states_used: 2,
    prefix_cache_states_total: 16,
    prefix_cache_host_states_used: 3,
    prefix_cache_host_states_total: 8,
    deterministic: false,
    spec_decode_num_draft_tokens: 40,
    spec_decode_num_accepted_tokens: 30,
    ttft_ms: null,
    itl_ms: null,
  });
});

it("measures the first token and the ones after it", async () => {
  const payload = { prompt: "the river", max_tokens: 4, ignore_eos: true };
  for (const stream of [true, false]) {
    await app.inject({ method: "POST", url: "/v1/completions", payload: { ...payload, stream } });
  }
  const { ttft_ms: first, itl_ms: next } = await stats();
  expect([first.count, next.count]).toEqual([2, 6]);
  for (const { p50, p90, p99 } of [first, next]) {
    expect(p50).toBeGreaterThan(3);
    expect(p90).toBeGreaterThanOrEqual(p50);
    expect(p99).toBeGreaterThanOrEqual(p90);
  }
});

it("answers while the engine does not, and says why", async () => {
  model.currentHealth = { state: "loading", progress: 0.5, restarts: 0 };
  expect(await stats()).toMatchObject({ status: "loading", message: "the model is being loaded", progress: 0.5 });
});
