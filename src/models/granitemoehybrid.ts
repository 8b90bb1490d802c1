import { Attention } from "../layers/attention";
import type { ModelBuild } from "../layers/build";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { Mlp } from "../layers/mlp";
import { Moe } from "../layers/moe";
import { type Branch, PreNorm } from "../layers/pre-norm";
import type { WeightScope } from "../weights/scope";
import type { GraniteMoeHybridConfig } from "./config/granite-moe-hybrid";
import { Decoder } from "./decoder";
import type { Model } from "./model";

/** What published checkpoints call the projections, by what transformers 5 and the other models call them. */
const respelled: readonly [RegExp, string][] = [
  [/^model\./, ""],
  [/\.router\.layer\.weight$/, ".router.weight"],
  [/\.block_sparse_moe\.input_linear\.weight$/, ".block_sparse_moe.experts.gate_up_proj"],
  [/\.block_sparse_moe\.output_linear\.weight$/, ".block_sparse_moe.experts.down_proj"],
  [/\.shared_mlp\.input_linear\./, ".shared_mlp.gate_up_proj."],
  [/\.shared_mlp\.output_linear\./, ".shared_mlp.down_proj."],
];

export function graniteMoeHybridName(name: string): string {
  return respelled.reduce((spelled, [pattern, replacement]) => spelled.replace(pattern, replacement), name);
}

/** Granite 4 (IBM 2025): layers of a Mamba-2 mixer or attention, and experts, an MLP or both after each. */
export function loadGraniteMoeHybrid(
  config: GraniteMoeHybridConfig,
  build: ModelBuild,
  checkpoint: WeightScope,
): Promise<Model> {
  const { hiddenSize, layers, moe } = config;
  const sizes = { hiddenSize, outputScale: config.residualMultiplier };
  const mixer = config.ssm && { ...config.ssm, ...sizes };
  const attention = config.attention && { ...config.attention, outputScale: config.residualMultiplier };
  const experts = moe && { ...moe, ...sizes };
  const shared = moe === null ? config.mlp : moe.shared && { kind: moe.kind, size: moe.shared.size, bias: false };
  const mlp = shared && { ...shared, ...sizes };

  const mixerOf = (layer: WeightScope, i: number): Branch =>
    layers[i] === "attention"
      ? Attention.load(attention!, hiddenSize, build, layer.scope("self_attn"))
      : new Mamba2Mixer(mixer!, build, layer.scope("mamba"));
  const feedForward = (layer: WeightScope): Branch => {
    const dense = mlp && Mlp.load(mlp, build, layer.scope("shared_mlp"));
    if (dense === null) layer.ignore("shared_mlp"); // transformers writes one of no rows
    if (experts === null) return dense!;
    const sparse = layer.scope("block_sparse_moe");
    const weights = { router: sparse.scope("router"), experts: sparse.scope("experts") };
    return new Moe(experts, build, weights, dense);
  };
  const options = {
    embeddings: "embed_tokens",
    norm: "norm",
    embeddingScale: config.embeddingMultiplier,
    logitsScale: 1 / config.logitsScaling,
  };
  return Decoder.load(config, build, checkpoint.named(graniteMoeHybridName), options, (layer, i) => [
    PreNorm.load(build, layer.scope("input_layernorm"), config, mixerOf(layer, i)),
    PreNorm.load(build, layer.scope("post_attention_layernorm"), config, feedForward(layer)),
  ]);
}
