import { basename, resolve } from "node:path";
import { ModelRunner } from "../engine/model-runner";
import { type DtypeName, type EngineConfig, resolveDtypes } from "../engine/policy/config";
import { createStatePool } from "../engine/state-pool";
import type { LayerState } from "../layers/forward";
import { loadModelConfig, type ModelConfig } from "../models/config";
import type { Model } from "../models/model";
import { loadModel, stateBytes, stateShapes } from "../models/registry";
import type { Device } from "../tensor/device";
import { type DType, sizeOf } from "../tensor/dtype";
import { Checkpoint } from "../weights/checkpoint";
import { WeightLoader } from "../weights/loader";
import { WeightScope } from "../weights/scope";

export interface StepModelOptions {
  readonly dtype: DtypeName;
  readonly stateDtype: DtypeName;
  /** "dummy": random weights from config.json alone. */
  readonly loadFormat: "auto" | "dummy";
  /** Sequences of the largest decode step. */
  readonly maxNumSeqs: number;
  /** Tokens of the largest prefill. */
  readonly maxTokens: number;
  /** Bytes of weights that are on the device, and of all; 0 where that is not known. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/** Of a sequence in a benchmark of decode steps. */
const MOST_NEW_TOKENS = 100_000;

/** A model with its states and the engine's runner, without an engine: a benchmark decides what a step holds. */
export interface StepModel {
  readonly name: string;
  readonly config: ModelConfig;
  readonly model: Model;
  readonly state: readonly LayerState[];
  readonly runner: ModelRunner;
  readonly limits: EngineConfig;
  readonly dtypes: { readonly compute: DType; readonly ssm: DType };
  /** Of one sequence. */
  readonly stateBytes: number;
}

/** All states are zero. Closing the device frees all of it. */
export async function loadStepModel(dir: string, device: Device, options: StepModelOptions): Promise<StepModel> {
  const config = loadModelConfig(dir);
  const checkpoint = options.loadFormat === "dummy" ? null : Checkpoint.open(dir);
  const weights = checkpoint === null ? WeightScope.ofDummy() : WeightScope.ofCheckpoint(checkpoint);
  const dtypes = resolveDtypes(options, config);
  const onProgress = (bytes: number) => options.onProgress?.(bytes, checkpoint?.totalBytes ?? 0);
  const loader = new WeightLoader(device, dtypes.compute, onProgress);
  const model = await loadModel(config, loader, weights);
  loader.close();
  const { maxNumSeqs, maxTokens } = options;
  const state = createStatePool(device, stateShapes(config), dtypes, maxNumSeqs);
  for (const { conv, ssm } of state) for (const table of [conv, ssm]) device.stream.fill(table, 0);
  const limits = {
    maxNumSeqs,
    maxNumBatchedTokens: Math.max(maxTokens, maxNumSeqs),
    chunkSize: config.chunkSize,
    maxModelLen: maxTokens + MOST_NEW_TOKENS,
    maxQueue: maxNumSeqs,
    overlap: true,
  };
  const runner = new ModelRunner({ device, model, state, vocabSize: config.vocabSize }, limits);
  if (device.choosesKernels) {
    await runner.warmUp();
    runner.captureDecodes();
  }
  await device.stream.done();
  const name = basename(resolve(dir));
  return { name, config, model, state, runner, limits, dtypes, stateBytes: stateBytes(config, dtypes) };
}

/** Values of the matrices that every token goes through, and of the head, which only the last one of a prompt does. */
export function matrixValues(config: ModelConfig): { layers: number; head: number } {
  const { hiddenSize, vocabSize, numLayers, dInner, convDim, numHeads } = config;
  const layer = (dInner + convDim + numHeads) * hiddenSize + hiddenSize * dInner;
  return { layers: numLayers * layer, head: vocabSize * hiddenSize };
}

/** What a step has to move and to calculate: all matrices once, the states of its sequences in and out. */
export function stepWork(
  { config, dtypes, stateBytes }: Pick<StepModel, "config" | "dtypes" | "stateBytes">,
  { tokens, sequences }: { tokens: number; sequences: number },
): { bytes: number; flops: number } {
  const { layers, head } = matrixValues(config);
  return {
    bytes: (layers + head) * sizeOf(dtypes.compute) + 2 * sequences * stateBytes,
    flops: 2 * tokens * layers + 2 * sequences * head,
  };
}
