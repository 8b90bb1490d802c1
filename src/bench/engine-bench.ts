import { Engine } from "../engine/engine";
import { greedyRequest } from "../engine/policy/request";
import type { Device, DeviceKind } from "../tensor/device";
import { hardwareOf, rounded } from "./kernel-bench";
import { percentile } from "./serve/statistics";
import { type HostPart, hostParts, idleShare, StepClock } from "./step-clock";
import type { StepModel } from "./step-model";
import { median } from "./timer";

/** A line of bench/results: the engine's loop in steady decode. */
export interface EngineResult {
  readonly figure: "engine_step";
  readonly model: string;
  /** Sequences. */
  readonly size: number;
  readonly device: DeviceKind;
  readonly hardware: string;
  readonly overlap: boolean;
  readonly steps: number;
  /** Milliseconds from step to step. */
  readonly step_ms: number;
  /** Medians in microseconds, on the host. */
  readonly host_us: Readonly<Record<HostPart, number>>;
  /** schedule + metadata + launch of a step. */
  readonly before_step_us: { readonly p50: number; readonly p99: number };
  /** The share of the time in which the device runs no step. */
  readonly idle_share: number;
}

/** Steps that count, and those before them: the prefill, and until Node.js has compiled the loop. */
const stepsOf: Readonly<Record<DeviceKind, { steps: number; warmUp: number }>> = {
  cuda: { steps: 200, warmUp: 100 },
  cpu: { steps: 40, warmUp: 10 },
};

/** Runs the engine's own loop, `sequences` requests decoding all the time, and looks at some of its steps. */
export async function benchEngine(
  device: Device,
  { name, runner, limits }: StepModel,
  { sequences, overlap }: { sequences: number; overlap: boolean },
): Promise<EngineResult> {
  const { steps, warmUp } = stepsOf[device.kind];
  const clock = new StepClock(warmUp, steps);
  const engine = new Engine(runner, { ...limits, overlap }, () => {}, { trace: clock });
  runner.trace = clock;
  try {
    const requests = Array.from({ length: sequences }, (_, i) =>
      engine.submit(greedyRequest(`${i}`, [1 + i], warmUp + steps + 10)),
    );
    await Promise.all(requests.map(drain));
  } finally {
    runner.trace = null;
    await engine.close();
  }
  const marks = await device.stream.readMarks();
  const { parts } = clock;
  const before = parts.schedule.map((us, i) => us + (parts.metadata[i] ?? 0) + (parts.launch[i] ?? 0));
  return {
    figure: "engine_step",
    model: name,
    size: sequences,
    device: device.kind,
    hardware: hardwareOf(device),
    overlap,
    steps,
    step_ms: rounded((marks[marks.length - 2]! - marks[0]!) / 1000 / (steps - 1)),
    host_us: Object.fromEntries(hostParts.map((part) => [part, rounded(median(parts[part]))])) as Record<
      HostPart,
      number
    >,
    before_step_us: { p50: rounded(median(before)), p99: rounded(percentile(before, 99)) },
    idle_share: rounded(idleShare(marks)),
  };
}

async function drain(tokens: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of tokens);
}
