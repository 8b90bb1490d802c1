import { greedyRequest } from "../engine/policy/request";
import { Scheduler } from "../engine/policy/scheduler";
import type { SchedulerConfig } from "../engine/policy/scheduler-config";
import type { StepTimes } from "./step-times";
import type { ThroughputRequest } from "./throughput";

export interface ThroughputBound {
  readonly steps: number;
  /** What all steps take on the device, one after the other and nothing between them. */
  readonly deviceSeconds: number;
  readonly outputTokensPerSecond: number;
}

/**
 * What an engine that never waits for anything but its device could reach: the requests go through the scheduler with made-up
 * tokens, and the times of the steps that it plans are summed.
 */
export function throughputBound(
  requests: readonly ThroughputRequest[],
  config: SchedulerConfig,
  times: StepTimes,
): ThroughputBound {
  const scheduler = new Scheduler({ ...config, maxQueue: Math.max(config.maxQueue, requests.length) });
  for (const [i, { prompt, outputTokens }] of requests.entries()) {
    scheduler.add(greedyRequest(`${i}`, prompt, outputTokens));
  }
  let steps = 0;
  let milliseconds = 0;
  let outputTokens = 0;
  for (let batch = scheduler.schedule(); batch !== null; batch = scheduler.schedule()) {
    const decodes = batch.rows.length - batch.numPrefills;
    milliseconds += times.milliseconds({ decodes, prefillTokens: batch.numTokens - decodes });
    steps += 1;
    outputTokens += scheduler.commit(batch, new Int32Array(batch.numDraws)).length;
  }
  const deviceSeconds = milliseconds / 1000;
  return { steps, deviceSeconds, outputTokensPerSecond: outputTokens / deviceSeconds };
}
