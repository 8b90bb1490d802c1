import type { ModelBuild } from "../layers/build";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { PreNorm } from "../layers/pre-norm";
import type { WeightScope } from "../weights/scope";
import type { Mamba2Config } from "./config";
import { Decoder } from "./decoder";
import type { Model } from "./model";

/**
 * Hugging Face writes `backbone.` before all but lm_head; state-spaces writes `backbone.embedding.weight`; Mistral's consolidated
 * files write `model.` before everything.
 */
export function mamba2Name(name: string): string {
  const bare = name.replace(/^model\./, "").replace(/^backbone\./, "");
  return bare === "embedding.weight" ? "embeddings.weight" : bare;
}

/** Mamba-2 (Dao & Gu 2024, arXiv 2405.21060): layers of a norm and a mixer. */
export function loadMamba2(config: Mamba2Config, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  const { hiddenSize, residualInFp32 } = config;
  const mixer = { ...config.ssm, hiddenSize };
  const options = {
    embeddings: "embeddings",
    norm: "norm_f",
    residualDtype: residualInFp32 ? ("f32" as const) : build.dtype,
  };
  return Decoder.load(config, build, checkpoint.named(mamba2Name), options, (layer) => [
    PreNorm.load(build, layer.scope("norm"), config, new Mamba2Mixer(mixer, build, layer.scope("mixer"))),
  ]);
}
