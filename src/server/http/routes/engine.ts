import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../../context";
import type { Percentiles } from "../recent-times";
import { toReadiness } from "./health";

/** Counts since the engine was started, as many tokens for each row of a step as it took. */
export function engineRoutes(app: FastifyInstance, { model, drain, metrics }: ServerContext): void {
  const schema = { summary: "What the engine does, for the web page's live view", tags: ["server"] };
  app.get("/engine/stats", { schema }, async () => {
    const stats = model.stats();
    const { firstToken, betweenTokens } = metrics.recent;
    return {
      ...toReadiness(model.health(), drain),
      running: stats.running,
      waiting: stats.waiting,
      slots_used: stats.slotsUsed,
      slots_total: stats.slotsTotal,
      pages_used: stats.pagesUsed,
      pages_total: stats.pagesTotal,
      steps: stats.steps,
      prompt_tokens: stats.promptTokens,
      generated_tokens: stats.generatedTokens,
      prefill_rows: stats.prefillRows,
      prefill_tokens: stats.prefillTokens,
      decode_tokens: stats.decodeTokens,
      prefix_cache_queries: stats.prefixCacheQueries,
      prefix_cache_hits: stats.prefixCacheHits,
      prefix_cache_states_used: stats.snapshotsUsed,
      prefix_cache_states_total: stats.snapshotsTotal,
      prefix_cache_host_states_used: stats.hostSnapshotsUsed,
      prefix_cache_host_states_total: stats.hostSnapshotsTotal,
      deterministic: model.info.deterministic,
      spec_decode_num_draft_tokens: stats.speculation.draftTokens,
      spec_decode_num_accepted_tokens: stats.speculation.acceptedTokens,
      ttft_ms: rounded(firstToken.percentiles()),
      itl_ms: rounded(betweenTokens.percentiles()),
    };
  });
}

function rounded(times: Percentiles | null): Percentiles | null {
  if (times === null) return null;
  const short = (ms: number) => Number(ms.toPrecision(3));
  return { count: times.count, p50: short(times.p50), p90: short(times.p90), p99: short(times.p99) };
}
