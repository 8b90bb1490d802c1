import type { Metric } from "prom-client";
import { type EngineStats, STEP_SIZES } from "../../engine/policy/request";

/** Tokens of a step as a histogram, which the engine has counted: to observe each step again would cost more than the scrape. */
export function stepHistogram(name: string, stats: () => EngineStats): Metric {
  const help = "Tokens of a step";
  const get = async () => {
    const { stepSizes, prefillTokens, decodeTokens } = stats();
    const value = (part: string, count: number, labels = {}) => ({
      metricName: `${name}_${part}`,
      value: count,
      labels,
    });
    let count = 0;
    const buckets = [...STEP_SIZES, "+Inf"].map((le, i) => {
      count += stepSizes[i] ?? 0;
      return value("bucket", count, { le });
    });
    const values = [...buckets, value("sum", prefillTokens + decodeTokens), value("count", count)];
    return { name, help, type: "histogram", aggregator: "sum", values };
  };
  // What a registry asks a metric for; the library's classes keep their values to themselves.
  return { name, help, get } as unknown as Metric;
}
