import type { Pools } from "../layers/cache";
import type { Drafter } from "../models/drafter";
import type { Model } from "../models/model";
import { hostStateBytes, kvBytesPerToken, stateBytes } from "../models/registry";
import type { Device } from "../tensor/device";
import { tokenCountBytes } from "./draw/penalties";
import { HostSnapshots, PACKED_ROWS } from "./host-snapshots";
import { createPools, freePools } from "./loaded-model";
import { ModelRunner } from "./model-runner";
import { type EngineConfig, type EngineOptions, engineConfig, hostDtypeOf } from "./policy/config";
import { PAGE_SIZE } from "./policy/kv-pages";
import { fitMemory, hostSnapshots, type MemoryPlan, stateBudget } from "./policy/memory-plan";

export interface PreparedRunner {
  readonly runner: ModelRunner;
  /** What its sequences keep between steps. */
  readonly pools: readonly Pools[];
  /** As asked for, and as much of it as fits. */
  readonly config: EngineConfig;
  readonly memory: Omit<MemoryPlan, "weights">;
  /** Why it is less than asked for; null when it is not. */
  readonly note: string | null;
}

/**
 * Makes a model whose weights are loaded ready to run. In this order: the largest step's workspace is measured and taken, every
 * size of step runs once (on a GPU, where this chooses kernels), the states get what is then left of the memory, and the decode
 * steps are captured. Captures come last, because a graph holds the addresses of the states. `drafter`: what guesses on the device.
 * Throws ERR_MEMORY.
 */
export async function prepareRunner(
  device: Device,
  model: Model,
  { vocabSize, maxPositions }: { vocabSize: number; maxPositions?: number },
  options: EngineOptions,
  drafter: Drafter | null = null,
): Promise<PreparedRunner> {
  const { kind } = device;
  const bytes = {
    stateBytesPerSeq: stateBytes(model) + tokenCountBytes(vocabSize),
    kvBytesPerToken: kvBytesPerToken(model),
    snapshotBytes: stateBytes(model),
  };
  const hostDtype = hostDtypeOf(options);
  const hostBytes = hostStateBytes(model, hostDtype);
  const onTheirWay = hostDtype === "int8" ? PACKED_ROWS * hostBytes : 0;
  const budget = () => Math.max(0, stateBudget({ kind, ...device.memory() }, options) - onTheirWay);
  const wanted = engineConfig(options, { kind, chunkSize: alignmentOf(model), maxPositions });

  // A workspace for far more sequences than there can be might not fit itself.
  const tried = fitMemory(wanted, options, { kind, ...bytes, budget: budget() });
  const oneSlot = createPools({ device, model }, { slots: 1, pages: Math.min(1, tried.config.numPages) });
  const guessing = drafter === null ? {} : { drafter };
  const trial = new ModelRunner({ device, model, pools: oneSlot, vocabSize, ...guessing }, tried.config);
  if (device.choosesKernels) await trial.warmUp();
  const fitted = fitMemory(tried.config, options, { kind, ...bytes, budget: budget() });
  trial.free();
  freePools(oneSlot);

  const numHostSnapshots = hostSnapshots(options, fitted.config, hostBytes);
  const config = { ...fitted.config, numHostSnapshots };
  const slots = config.maxNumSeqs + config.numSnapshots;
  const pools = createPools({ device, model }, { slots, pages: config.numPages });
  const host = numHostSnapshots > 0 ? { host: new HostSnapshots(device, model, numHostSnapshots, hostDtype) } : {};
  const runner = new ModelRunner({ device, model, pools, ...host, vocabSize, ...guessing }, config);
  if (device.choosesKernels) runner.captureAll();
  const { stateBytesPerSeq } = bytes;
  const snapshots = config.numSnapshots * bytes.snapshotBytes;
  const kvCache = config.numPages * PAGE_SIZE * bytes.kvBytesPerToken;
  const kept = { snapshots, hostSnapshots: numHostSnapshots * hostBytes };
  const memory = { workspace: runner.arenaBytes, stateBytesPerSeq, kvCache, ...kept, ...device.memory() };
  return { runner, pools, config, memory, note: fitted.note ?? tried.note };
}

/** Tokens at whose multiples prefills are cut: the least common multiple of what the layers ask for. */
function alignmentOf({ fields }: Model): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  return fields.reduce((size, { alignment = 1 }) => (size / gcd(size, alignment)) * alignment, 1);
}
