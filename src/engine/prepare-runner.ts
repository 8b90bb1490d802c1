import type { ModelConfig } from "../models/config";
import type { Model, StateDtypes } from "../models/model";
import { stateBytes, stateShapes } from "../models/registry";
import type { Device } from "../tensor/device";
import { ModelRunner } from "./model-runner";
import {
  type EngineConfig,
  type EngineOptions,
  engineConfig,
  fitSequences,
  type MemoryPlan,
  stateBudget,
} from "./policy/config";
import { createStatePool, freeStatePool, tokenCountBytes } from "./state-pool";

export interface PreparedRunner {
  readonly runner: ModelRunner;
  /** As asked for, and as much of it as fits. */
  readonly config: EngineConfig;
  readonly memory: Omit<MemoryPlan, "weights">;
  /** Why it is less than asked for; null when it is not. */
  readonly note: string | null;
}

/**
 * Makes a model whose weights are loaded ready to run. In this order: the largest step's workspace is measured and taken, every
 * size of step runs once (on a GPU, where this chooses kernels), the states get what is then left of the memory, and the decode
 * steps are captured. Captures come last, because a graph holds the addresses of the states. Throws ERR_MEMORY.
 */
export async function prepareRunner(
  device: Device,
  model: Model,
  modelConfig: ModelConfig,
  dtypes: StateDtypes,
  options: EngineOptions,
): Promise<PreparedRunner> {
  const { kind } = device;
  const { vocabSize, chunkSize } = modelConfig;
  const shapes = stateShapes(modelConfig);
  const stateBytesPerSeq = stateBytes(modelConfig, dtypes) + tokenCountBytes(vocabSize);
  const budget = () => stateBudget({ kind, ...device.memory() }, options);
  const wanted = engineConfig(options, { kind, chunkSize });

  // A workspace for far more sequences than there can be might not fit itself.
  const tried = fitSequences(wanted, options, { kind, stateBytesPerSeq, budget: budget() });
  const oneSlot = createStatePool(device, shapes, dtypes, 1);
  const trial = new ModelRunner({ device, model, state: oneSlot, vocabSize }, tried.config);
  if (device.choosesKernels) await trial.warmUp();
  const fitted = fitSequences(tried.config, options, { kind, stateBytesPerSeq, budget: budget() });
  trial.free();
  freeStatePool(oneSlot);

  const { config } = fitted;
  const state = createStatePool(device, shapes, dtypes, config.maxNumSeqs);
  const runner = new ModelRunner({ device, model, state, vocabSize }, config);
  if (device.choosesKernels) runner.captureDecodes();
  const memory = { workspace: runner.arenaBytes, stateBytesPerSeq, ...device.memory() };
  return { runner, config, memory, note: fitted.note ?? tried.note };
}
