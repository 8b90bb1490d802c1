/**
 * @typedef {{ status: string, message?: string, progress?: number | null, running: number, waiting: number,
 *   slots_used: number, slots_total: number, pages_used: number, pages_total: number, steps: number,
 *   generated_tokens: number, prefill_rows: number, prefill_tokens: number, decode_tokens: number, prefix_cache_queries: number, prefix_cache_hits: number,
 *   prefix_cache_states_used: number, prefix_cache_states_total: number, prefix_cache_host_states_used: number,
 *   prefix_cache_host_states_total: number, deterministic: boolean, ttft_ms: Percentiles | null, itl_ms: Percentiles | null }} Stats
 * The answer of GET /engine/stats.
 * @typedef {{ p50: number, p90: number, p99: number }} Percentiles
 * @typedef {{ generated: number, prefilled: number, steps: number, prefillRows: number, prefillTokens: number,
 *   decodes: number }} Rates
 * Tokens and steps per second; rows and tokens of a mean step.
 */

/**
 * How much of the prompts was computed for earlier ones, since the engine was started.
 *
 * @param {Pick<Stats, "prefix_cache_queries" | "prefix_cache_hits">} stats
 */
export function cachedShare({ prefix_cache_queries, prefix_cache_hits }) {
  return prefix_cache_queries === 0 ? "–" : `${Math.round((100 * prefix_cache_hits) / prefix_cache_queries)} %`;
}

/** @type {Rates} */
export const noRates = { generated: 0, prefilled: 0, steps: 0, prefillRows: 0, prefillTokens: 0, decodes: 0 };

/**
 * What happened between two answers. An engine that was started again counts from 0.
 * @param {Stats} before
 * @param {Stats} after
 * @param {number} seconds
 * @returns {Rates}
 */
export function ratesBetween(before, after, seconds) {
  if (seconds <= 0) return noRates;
  const isNew = after.steps < before.steps;
  /** @param {"steps" | "generated_tokens" | "prefill_rows" | "prefill_tokens" | "decode_tokens"} name */
  const added = (name) => after[name] - (isNew ? 0 : before[name]);
  const steps = added("steps");
  /** @param {number} count */
  const perStep = (count) => (steps === 0 ? 0 : count / steps);
  return {
    generated: added("generated_tokens") / seconds,
    prefilled: added("prefill_tokens") / seconds,
    steps: steps / seconds,
    prefillRows: perStep(added("prefill_rows")),
    prefillTokens: perStep(added("prefill_tokens")),
    decodes: perStep(added("decode_tokens")),
  };
}
