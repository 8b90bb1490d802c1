import { ModelBuild } from "../layers/build";
import { bytesOnHost, type HostDtype } from "../layers/cache";
import type { DType } from "../tensor/dtype";
import { PlannedLoader } from "../weights/planned-loader";
import { WeightScope } from "../weights/scope";
import type { ComputeDtype } from "../weights/weight-loader";
import { loadBamba } from "./bamba";
import type { ModelConfig } from "./config";
import { loadFalconH1 } from "./falcon-h1";
import { loadGraniteMoeHybrid } from "./granitemoehybrid";
import { loadMamba2 } from "./mamba2";
import type { Model } from "./model";
import { loadNemotronH } from "./nemotron-h";
import { loadQwen35, loadQwen35Moe } from "./qwen3-5";
import { loadQwen3Next } from "./qwen3-next";
import { loadZamba2 } from "./zamba2";

type Load<Config> = (config: Config, build: ModelBuild, weights: WeightScope) => Promise<Model>;

/** One entry per model_type that config.ts says is served. */
const architectures: { readonly [Type in ModelConfig["modelType"]]: Load<Extract<ModelConfig, { modelType: Type }>> } =
  {
    mamba2: loadMamba2,
    bamba: loadBamba,
    granitemoehybrid: loadGraniteMoeHybrid,
    nemotron_h: loadNemotronH,
    falcon_h1: loadFalconH1,
    zamba2: loadZamba2,
    qwen3_next: loadQwen3Next,
    qwen3_5: loadQwen35,
    qwen3_5_moe: loadQwen35Moe,
  };

/** Builds a model with the loader of `build`. */
export function loadModel(config: ModelConfig, build: ModelBuild, weights: WeightScope): Promise<Model> {
  return (architectures[config.modelType] as Load<ModelConfig>)(config, build, weights);
}

export interface ModelPlan {
  readonly model: Model;
  readonly parameters: number;
  /** How many of them a token uses. */
  readonly activeParameters: number;
  /** Bytes that one sequence's states take over all layers, and each of its tokens. */
  readonly stateBytes: number;
  readonly kvBytesPerToken: number;
}

/** The model that a config describes, built without weights and without a device. */
export async function planModel(config: ModelConfig, dtype: ComputeDtype, stateDtype: DType): Promise<ModelPlan> {
  const loader = new PlannedLoader(dtype);
  const build = new ModelBuild(loader, { stateDtype });
  const model = await loadModel(config, build, WeightScope.ofDummy());
  return {
    model,
    parameters: loader.parameters,
    activeParameters: loader.parameters - build.idleParameters,
    stateBytes: stateBytes(model),
    kvBytesPerToken: kvBytesPerToken(model),
  };
}

/** Bytes of a state that the prefix cache keeps in host memory. */
export function hostStateBytes({ caches }: Model, dtype: HostDtype): number {
  return caches.reduce((sum, cache) => sum + bytesOnHost(cache, dtype), 0);
}

export function stateBytes({ caches }: Model): number {
  return caches.reduce((sum, { bytesPerSequence }) => sum + bytesPerSequence, 0);
}

export function kvBytesPerToken({ caches }: Model): number {
  return caches.reduce((sum, { bytesPerToken }) => sum + bytesPerToken, 0);
}
