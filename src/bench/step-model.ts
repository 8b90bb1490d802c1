import { basename, resolve } from "node:path";
import type { DtypeName, Dtypes, EngineConfig, QuantizeName } from "../engine/policy/config";
import { prepareRunner } from "../engine/prepare-runner";
import type { Runner } from "../engine/runner";
import { loadWeights } from "../llm/load-weights";
import { loadModelConfig, type ModelConfig } from "../models/config";
import type { Model } from "../models/model";
import type { Device } from "../tensor/device";

export interface StepModelOptions {
  readonly dtype: DtypeName;
  readonly stateDtype: DtypeName;
  readonly kvCacheDtype: "auto" | "fp8";
  readonly quantize: QuantizeName;
  /** "dummy": random weights from config.json alone. */
  readonly loadFormat: "auto" | "dummy";
  /** Whether `device` is deterministic. */
  readonly deterministic: boolean;
  /** Sequences of the largest decode step. */
  readonly maxNumSeqs: number;
  /** Tokens of the largest prefill. */
  readonly maxTokens: number;
  /** Bytes of weights that are on the device, and of all; 0 where that is not known. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/** New tokens of a sequence in a benchmark of decode steps, at most. */
const MOST_NEW_TOKENS = 100_000;

/** A model with its states and the engine's runner, without an engine: a benchmark decides what a step holds. */
export interface StepModel {
  readonly name: string;
  readonly config: ModelConfig;
  readonly model: Model;
  readonly runner: Runner;
  readonly limits: EngineConfig;
  readonly dtypes: Dtypes;
  readonly quantize: QuantizeName;
}

/** All states are zero. Closing the device frees all of it. */
export async function loadStepModel(dir: string, device: Device, options: StepModelOptions): Promise<StepModel> {
  const config = loadModelConfig(dir);
  const { model, dtypes } = await loadWeights(dir, config, device, options);
  const { maxNumSeqs, maxTokens, deterministic, quantize } = options;
  // A benchmark's positions are what they are, whatever length the model was trained on.
  const prepared = await prepareRunner(
    [{ device, model }],
    { vocabSize: config.vocabSize },
    {
      maxNumSeqs,
      maxNumBatchedTokens: Math.max(maxTokens, maxNumSeqs),
      maxModelLen: maxTokens + MOST_NEW_TOKENS,
      maxQueue: maxNumSeqs,
      prefixCache: false,
      deterministic,
    },
  );
  for (const pools of prepared.pools) for (const pool of Object.values(pools)) device.stream.fill(pool, 0);
  await device.stream.done();
  const { runner, config: limits } = prepared;
  return { name: basename(resolve(dir)), config, model, runner, limits, dtypes, quantize };
}
