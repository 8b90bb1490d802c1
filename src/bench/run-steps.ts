import { basename, resolve } from "node:path";
import { openDevice } from "../engine/open-device";
import type { EngineOptions } from "../engine/policy/config";
import { modelPath } from "../llm/bundled-model";
import { benchEngine, type EngineResult } from "./engine-bench";
import { Floor, type Rates } from "./floor";
import { hardwareOf, rounded } from "./kernel-bench";
import { peersOf } from "./peers";
import { benchDefaults } from "./run-defaults";
import { StepBench, type StepResult } from "./step-bench";
import { loadStepModel, type StepModelOptions } from "./step-model";
import { Timer } from "./timer";

export interface StepRunOptions
  extends Pick<EngineOptions, "device" | "threads" | "overlap">,
    Pick<StepModelOptions, "dtype" | "stateDtype" | "kvCacheDtype" | "quantize" | "loadFormat"> {
  /** Whether each model is measured a second time in the deterministic mode. Default false. */
  readonly deterministic?: boolean | undefined;
  /** Directories, or names of bundled models. */
  readonly models: readonly string[];
  /** Sequences of decode steps. */
  readonly batch: readonly number[];
  /** Tokens that each of them has already. */
  readonly context: number;
  /** Tokens of prompts. */
  readonly prefill: readonly number[];
  /** Timed runs of each step. Default: 41 on a GPU, 5 on the CPU; a quarter of it for prefills. */
  readonly runs?: number | undefined;
}

export interface StepRunEvents {
  onMessage(message: string): void;
  onProgress(what: string): void;
  onRates(hardware: string, rates: Rates): void;
  onResult(result: StepResult): void;
  onEngine(result: EngineResult): void;
}

/** Times the steps of each model, one model after the other, each on a device opened for it. */
export async function runSteps(options: StepRunOptions, events: StepRunEvents): Promise<void> {
  for (const nameOrDir of options.models) {
    const dir = modelPath(nameOrDir);
    const usual = await runModel(dir, { ...options, deterministic: false }, events);
    if (options.deterministic !== true) continue;
    const withCost = (result: StepResult) => {
      const other = usual.find(({ figure, size }) => figure === result.figure && size === result.size)!;
      events.onResult({ ...result, cost: rounded(result.ms / other.ms - 1) });
    };
    await runModel(dir, { ...options, deterministic: true }, { ...events, onResult: withCost });
  }
}

async function runModel(
  dir: string,
  options: StepRunOptions & { readonly deterministic: boolean },
  events: StepRunEvents,
): Promise<StepResult[]> {
  const results: StepResult[] = [];
  const report = (result: StepResult) => {
    results.push(result);
    events.onResult(result);
  };
  const name = basename(resolve(dir));
  const device = openDevice(options, events.onMessage);
  try {
    const hardware = hardwareOf(device);
    const runs = options.runs ?? benchDefaults(device.kind).runs;
    events.onProgress("measuring the device");
    const rates = await new Floor(device, new Timer(device, runs)).rates();
    events.onRates(hardware, rates);
    const target = await loadStepModel(dir, device, {
      ...options,
      maxNumSeqs: Math.max(1, ...options.batch),
      maxTokens: Math.max(options.context, ...options.prefill),
      onProgress: (bytes) => events.onProgress(`loading ${name}: ${(bytes / 2 ** 30).toFixed(1)} GiB`),
    });
    const peers = peersOf(hardware);
    const decodes = new StepBench(device, target, rates, peers, runs);
    for (const sequences of options.batch) {
      events.onProgress(`${name}: decode step, batch ${sequences}`);
      report(await decodes.decode(sequences, options.context));
      events.onProgress(`${name}: the engine's loop, batch ${sequences}`);
      events.onEngine(await benchEngine(device, target, { sequences, overlap: options.overlap ?? true }));
    }
    const prefills = new StepBench(device, target, rates, peers, Math.ceil(runs / 4));
    for (const tokens of options.prefill) {
      events.onProgress(`${name}: prefill of ${tokens} tokens`);
      report(await prefills.prefill(tokens));
    }
    return results;
  } finally {
    device.close();
  }
}
