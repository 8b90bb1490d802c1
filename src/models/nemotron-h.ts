import { Attention } from "../layers/attention";
import type { ModelBuild } from "../layers/build";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { Mlp } from "../layers/mlp";
import { Moe } from "../layers/moe";
import { type Branch, PreNorm } from "../layers/pre-norm";
import type { WeightScope } from "../weights/scope";
import type { NemotronHConfig } from "./config/nemotron-h";
import { type Block, Decoder, type DecoderEnds } from "./decoder";
import type { Model } from "./model";
import { MtpHead } from "./mtp-head";

/** NVIDIA writes `backbone.` before all but lm_head, transformers `model.`. */
export function nemotronHName(name: string): string {
  return name.replace(/^(backbone|model)\./, "");
}

/** Nemotron-H (NVIDIA 2025, arXiv 2504.03624), Nano 2 and Nemotron 3: one branch in each layer, of four kinds. */
export function loadNemotronH(config: NemotronHConfig, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  const { hiddenSize, normEps, layers, attention, mlps, moe } = config;
  const weights = checkpoint.named(nemotronHName);
  if (!build.withMtp || config.mtpLayers.length === 0) weights.ignore("mtp");
  const mixer = config.ssm && { ...config.ssm, hiddenSize };
  const experts = moe && { ...moe, hiddenSize };
  const shared = moe?.shared && { kind: moe.kind, size: moe.shared.size, bias: moe.bias, hiddenSize };
  let mlpsBefore = 0;

  const branch = (kind: (typeof layers)[number], scope: WeightScope): Branch => {
    switch (kind) {
      case "mamba":
        return new Mamba2Mixer(mixer!, build, scope);
      case "attention":
        return Attention.load(attention!, hiddenSize, build, scope);
      case "mlp":
        return Mlp.load({ ...mlps[mlpsBefore++]!, hiddenSize }, build, scope);
      case "moe": {
        const parts = { router: scope.scope("gate"), experts: scope.scope("experts"), latent: scope };
        const always = shared ? Mlp.load(shared, build, scope.scope("shared_experts")) : null;
        return new Moe(experts!, build, parts, always);
      }
    }
  };
  const block = (kind: (typeof layers)[number], layer: WeightScope): Block =>
    PreNorm.load(build, layer.scope("norm"), config, branch(kind, layer.scope("mixer")));
  const mtp = (ends: DecoderEnds): MtpHead => {
    const own = weights.scope("mtp").scope("layers");
    const [first, last] = [own.scope(0), own.scope(config.mtpLayers.length - 1)];
    const parts = {
      embeddingNorm: first.scope("enorm"),
      hiddenNorm: first.scope("hnorm"),
      projection: first.scope("eh_proj"),
      norm: last.scope("final_layernorm"),
    };
    const blocks = config.mtpLayers.map((kind, i) => block(kind, own.scope(i)));
    return new MtpHead(build, ends, { width: hiddenSize, eps: normEps, normWeight: "factor" }, parts, blocks);
  };
  const options = { embeddings: "embeddings", norm: "norm_f", ...(config.mtpLayers.length > 0 && { mtp }) };
  // In transformers the head of this family is its own, whatever tie_word_embeddings says.
  const tieWordEmbeddings = config.tieWordEmbeddings && !weights.has("lm_head.weight");
  return Decoder.load({ ...config, tieWordEmbeddings }, build, weights, options, (layer, i) => [
    block(layers[i]!, layer),
  ]);
}
