import { Attention } from "../layers/attention";
import type { ModelBuild } from "../layers/build";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { Mlp } from "../layers/mlp";
import { type Branch, PreNorm } from "../layers/pre-norm";
import { withoutModel } from "../weights/names";
import type { WeightScope } from "../weights/scope";
import type { BambaConfig } from "./config/bamba";
import { Decoder } from "./decoder";
import type { Model } from "./model";

/** Bamba (IBM, Princeton, CMU and UIUC 2024): layers of a Mamba-2 mixer or attention, and an MLP after each. */
export function loadBamba(config: BambaConfig, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  const { hiddenSize, layers, attention } = config;
  const mixer = { ...config.ssm, hiddenSize };
  const mlp = { ...config.mlp, hiddenSize };
  const options = { embeddings: "embed_tokens", norm: "final_layernorm" };
  const mixerOf = (layer: WeightScope, i: number): Branch =>
    layers[i] === "attention"
      ? Attention.load(attention, hiddenSize, build, layer.scope("self_attn"))
      : new Mamba2Mixer(mixer, build, layer.scope("mamba"));
  return Decoder.load(config, build, checkpoint.named(withoutModel), options, (layer, i) => [
    PreNorm.load(build, layer.scope("input_layernorm"), config, mixerOf(layer, i)),
    PreNorm.load(build, layer.scope("pre_ff_layernorm"), config, Mlp.load(mlp, build, layer.scope("feed_forward"))),
  ]);
}
