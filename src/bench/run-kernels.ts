import { openDevice } from "../engine/open-device";
import type { EngineOptions } from "../engine/policy/config";
import { Device } from "../tensor/device";
import type { Rates } from "./floor";
import { hardwareOf, KernelBench, type KernelResult } from "./kernel-bench";
import { kernelCases, type Selection } from "./kernel-cases";
import { KernelCheck } from "./kernel-check";
import { peersOf } from "./peers";
import { benchDefaults } from "./run-defaults";

export interface KernelRunOptions extends Selection, Pick<EngineOptions, "device" | "threads"> {
  /** Timed runs of each case. Default: 41 on a GPU, 5 on the CPU. */
  readonly runs?: number | undefined;
}

export interface KernelRunEvents {
  onMessage(message: string): void;
  /** Before each check and each timing. */
  onProgress(done: number, total: number, what: string): void;
  onRates(hardware: string, rates: Rates): void;
  onResult(result: KernelResult): void;
}

/**
 * Checks every case against the CPU backend, then times all. Returns what is wrong where a check fails, and times nothing
 * then; null where all is well. Throws ERR_ARGUMENT for an unknown model.
 */
export async function runKernels(options: KernelRunOptions, events: KernelRunEvents): Promise<string | null> {
  const device = openDevice(options, events.onMessage);
  try {
    const { runs, maxTokens } = benchDefaults(device.kind);
    const cases = kernelCases({ maxTokens, ...options });
    const mismatch = await checkAgainstCpu(device, cases, events);
    if (mismatch !== null) return mismatch;
    const hardware = hardwareOf(device);
    const bench = new KernelBench(device, options.runs ?? runs, peersOf(hardware));
    const rates = await bench.rates();
    events.onRates(hardware, rates);
    for (const [done, one] of cases.entries()) {
      events.onProgress(done, cases.length, `timing ${one.op} ${one.name}`);
      events.onResult(await bench.measure(one, rates));
    }
    return null;
  } finally {
    device.close();
  }
}

async function checkAgainstCpu(
  device: Device,
  cases: ReturnType<typeof kernelCases>,
  { onProgress }: KernelRunEvents,
): Promise<string | null> {
  const reference = Device.open({ kind: "cpu" });
  const check = new KernelCheck(device, reference);
  try {
    return await check.firstMismatch(cases, (done, total, name) => onProgress(done, total, `checking ${name}`));
  } finally {
    check.free();
    reference.close();
  }
}
