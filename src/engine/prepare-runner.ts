import type { Pools } from "../layers/cache";
import type { Model } from "../models/model";
import { hostStateBytes, kvBytesPerToken, stateBytes } from "../models/registry";
import { tokenCountBytes } from "./draw/penalties";
import { HostSnapshots, PACKED_ROWS } from "./host-snapshots";
import { createPools, freePools, type PlacedModel } from "./loaded-model";
import { ModelRunner } from "./model-runner";
import { type EngineConfig, type EngineOptions, engineConfig, hostDtypeOf } from "./policy/config";
import { PAGE_SIZE } from "./policy/kv-pages";
import { fitMemory, hostSnapshots, type MemoryPlan, stateBudget } from "./policy/memory-plan";
import { LAGGING_ROWS } from "./policy/state-lag";
import { GroupRunner, type Runner } from "./runner";

export interface PreparedRunner {
  readonly runner: Runner;
  /** What its sequences keep between steps, on all ranks. */
  readonly pools: readonly Pools[];
  /** As asked for, and as much of it as fits. */
  readonly config: EngineConfig;
  readonly memory: Omit<MemoryPlan, "weights">;
  /** Why it is less than asked for; null when it is not. */
  readonly note: string | null;
}

/**
 * Makes a model whose weights are loaded ready to run, on one device or on the ranks of a group. In this order: the largest step's
 * workspace is measured and taken, every size of step runs once (on a GPU, where this chooses kernels), the states get what is then
 * left of the memory, and the decode steps are captured. Captures come last, because a graph holds the addresses of the states. All
 * ranks get the sizes that fit where there is least room. Throws ERR_MEMORY.
 */
export async function prepareRunner(
  placed: readonly PlacedModel[],
  { vocabSize, maxPositions }: { vocabSize: number; maxPositions?: number },
  options: EngineOptions,
): Promise<PreparedRunner> {
  const [{ device, model }] = placed as [PlacedModel];
  const { kind, choosesKernels } = device;
  const most = (bytesOf: (model: Model) => number) => Math.max(...placed.map((each) => bytesOf(each.model)));
  const bytes = {
    stateBytesPerSeq: most(stateBytes) + tokenCountBytes(vocabSize),
    kvBytesPerToken: most(kvBytesPerToken),
    snapshotBytes: most(stateBytes),
  };
  const hostDtype = hostDtypeOf(options);
  const hostBytes = most((each) => hostStateBytes(each, hostDtype));
  const onTheirWay = hostDtype === "int8" ? PACKED_ROWS * hostBytes : 0;
  // Ranks on the host share its memory.
  const sharers = kind === "cpu" ? placed.length : 1;
  const budget = () => {
    const budgets = placed.map((each) => stateBudget({ kind, ...each.device.memory() }, options));
    return Math.max(0, Math.min(...budgets) / sharers - onTheirWay);
  };
  const wanted = {
    ...engineConfig(options, { kind, chunkSize: alignmentOf(model), maxPositions }),
    ...(model.statesLag && { laggingRows: LAGGING_ROWS }),
  };
  const runnerOf = (config: EngineConfig, poolsOf: readonly (readonly Pools[])[]): Runner => {
    const runners = placed.map(({ drafter, ...each }, rank) => {
      const { numHostSnapshots: slots } = config;
      const host = slots > 0 ? { host: new HostSnapshots(each.device, each.model, slots, hostDtype) } : {};
      return new ModelRunner(
        { ...each, pools: poolsOf[rank]!, ...host, vocabSize, ...(drafter && { drafter }) },
        config,
      );
    });
    return runners.length === 1
      ? runners[0]!
      : new GroupRunner(
          runners,
          placed.map((each) => each.device),
        );
  };

  // A workspace for far more sequences than there can be might not fit itself.
  const tried = fitMemory(wanted, options, { kind, ...bytes, budget: budget() });
  const oneSlot = placed.map((each) => createPools(each, { slots: 1, pages: Math.min(1, tried.config.numPages) }));
  const trial = runnerOf(tried.config, oneSlot);
  if (choosesKernels) await trial.warmUp();
  const fitted = fitMemory(tried.config, options, { kind, ...bytes, budget: budget() });
  trial.free();
  oneSlot.forEach(freePools);

  const numHostSnapshots = hostSnapshots(options, fitted.config, hostBytes);
  const config = { ...fitted.config, numHostSnapshots };
  const slots = config.maxNumSeqs + config.numSnapshots;
  const poolsOf = placed.map((each) => createPools(each, { slots, pages: config.numPages }));
  const runner = runnerOf(config, poolsOf);
  if (choosesKernels) runner.captureAll();
  const { stateBytesPerSeq } = bytes;
  const snapshots = config.numSnapshots * bytes.snapshotBytes;
  const kvCache = config.numPages * PAGE_SIZE * bytes.kvBytesPerToken;
  const kept = { snapshots, hostSnapshots: numHostSnapshots * hostBytes };
  const memory = { workspace: runner.arenaBytes, stateBytesPerSeq, kvCache, ...kept, ...device.memory() };
  return { runner, pools: poolsOf.flat(), config, memory, note: fitted.note ?? tried.note };
}

/** Tokens at whose multiples prefills are cut: the least common multiple of what the layers ask for. */
function alignmentOf({ fields }: Model): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  return fields.reduce((size, { alignment = 1 }) => (size / gcd(size, alignment)) * alignment, 1);
}
