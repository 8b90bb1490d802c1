import { Attention } from "../layers/attention";
import type { ModelBuild } from "../layers/build";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { Mlp } from "../layers/mlp";
import { besideMixer, ParallelMixers } from "../layers/parallel-mixers";
import { Parallel, PreNorm } from "../layers/pre-norm";
import { withoutModel } from "../weights/names";
import type { WeightScope } from "../weights/scope";
import type { FalconH1Config } from "./config/falcon-h1";
import { Decoder } from "./decoder";
import type { Model } from "./model";

/** Falcon-H1 (TII 2025, arXiv 2507.22448): in each layer attention and a Mamba-2 mixer side by side, then an MLP. */
export function loadFalconH1(config: FalconH1Config, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  const { hiddenSize, multipliers: factors } = config;
  const mixer = {
    ...config.ssm,
    hiddenSize,
    inputScale: factors.ssmIn,
    partScales: factors.ssm,
    outputScale: factors.ssmOut,
  };
  const attention = {
    ...config.attention,
    scale: config.attention.scale * factors.key, // of the keys, with which only queries are multiplied
    inputScale: factors.attentionIn,
    outputScale: factors.attentionOut,
  };
  const joined = besideMixer(mixer, attention);
  const mlp = { ...config.mlp, hiddenSize, gateScale: factors.mlpGate, outputScale: factors.mlpDown };
  const options = {
    embeddings: "embed_tokens",
    norm: "final_layernorm",
    embeddingScale: factors.embedding,
    logitsScale: factors.lmHead,
  };
  return Decoder.load(config, build, checkpoint.named(withoutModel), options, (layer) => {
    const parts = { mixer: layer.scope("mamba"), attention: layer.scope("self_attn") };
    const mixers = joined
      ? new ParallelMixers({ mixer, attention: joined }, build, parts)
      : new Parallel(build, [
          new Mamba2Mixer(mixer, build, parts.mixer, { beside: true }),
          Attention.load(attention, hiddenSize, build, parts.attention),
        ]);
    return [
      PreNorm.load(build, layer.scope("input_layernorm"), config, mixers),
      PreNorm.load(build, layer.scope("pre_ff_layernorm"), config, Mlp.load(mlp, build, layer.scope("feed_forward"))),
    ];
  });
}
