import { collectDefaultMetrics, type PrometheusContentType, Registry } from "prom-client";

let registry: Registry<PrometheusContentType> | undefined;

/**
 * prom-client's default metrics of this process, under the names that all programs give them: `process_*`, `nodejs_*`. One
 * registry, however many servers a process has, since the observers behind it are never taken down. Its figures of the event
 * loop's lag cover the time since they were last read.
 */
export function processMetrics(): Registry<PrometheusContentType> {
  if (registry === undefined) {
    registry = new Registry();
    collectDefaultMetrics({ register: registry });
  }
  return registry;
}
