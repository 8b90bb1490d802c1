import { Attention } from "../layers/attention";
import type { ModelBuild } from "../layers/build";
import { GatedDeltaNet } from "../layers/gated-delta-net";
import { Linear } from "../layers/linear";
import { Mlp } from "../layers/mlp";
import { Moe } from "../layers/moe";
import { type Branch, PreNorm } from "../layers/pre-norm";
import type { MatrixDescriptor } from "../weights/descriptor";
import type { WeightScope } from "../weights/scope";
import type { GdnGeometry, MlpGeometry, MoeGeometry } from "./config/geometry";
import type { QwenHybridConfig } from "./config/qwen3-next";
import { type Block, Decoder, type DecoderEnds } from "./decoder";
import type { Model } from "./model";
import { MtpHead } from "./mtp-head";

/** What the families spell in their own way. */
export interface QwenSpelling {
  /** Rows of the projections of a gated delta net, in the order that the layer takes them. */
  readonly inProj: (weights: WeightScope, gdn: GdnGeometry, hiddenSize: number) => readonly MatrixDescriptor[];
  readonly feedForward: (layer: number) => MlpGeometry | MoeGeometry;
}

/** All norms but that of a gated delta net store what their weight is more than 1. */
const weight = "above one";

/** Qwen's hybrids: layers of a gated delta net or gated attention, and an MLP or experts after each. */
export function loadQwenHybrid(
  config: QwenHybridConfig,
  build: ModelBuild,
  weights: WeightScope,
  { inProj, feedForward }: QwenSpelling,
): Promise<Model> {
  const { hiddenSize, normEps, layers } = config;
  const gdn = { ...config.gdn, hiddenSize };
  const attention = { ...config.attention, outputGate: true, headNorm: { eps: normEps, weight } } as const;
  weights.ignore("visual"); // what sees images
  if (!build.withMtp) weights.ignore("mtp");

  const attentionOf = (layer: WeightScope): Branch =>
    Attention.load(attention, hiddenSize, build, layer.scope("self_attn"));
  const mixerOf = (layer: WeightScope, i: number): Branch => {
    if (layers[i] === "full_attention") return attentionOf(layer);
    const own = layer.scope("linear_attn");
    return new GatedDeltaNet(gdn, build, own, inProj(own, config.gdn, hiddenSize));
  };
  const feedForwardOf = (layer: WeightScope, i: number): Branch => {
    const geometry = { ...feedForward(i), hiddenSize };
    const own = layer.scope("mlp");
    if (!("experts" in geometry)) return Mlp.load(geometry, build, own);
    const { kind, shared } = geometry;
    const gate = () => Linear.load(build, own.scope("shared_expert_gate"), [1, hiddenSize], false);
    const expert =
      shared &&
      Mlp.load(
        { kind, size: shared.size, bias: false, hiddenSize },
        build,
        own.scope("shared_expert"),
        shared.gated ? gate() : null,
      );
    return new Moe(geometry, build, { router: own.scope("gate"), experts: own.scope("experts") }, expert);
  };

  const blocksOf = (layer: WeightScope, mixer: Branch, i: number): Block[] => [
    PreNorm.load(build, layer.scope("input_layernorm"), config, mixer, weight),
    PreNorm.load(build, layer.scope("post_attention_layernorm"), config, feedForwardOf(layer, i), weight),
  ];
  const mtp = (ends: DecoderEnds): MtpHead => {
    const own = weights.scope("mtp");
    const parts = {
      embeddingNorm: own.scope("pre_fc_norm_embedding"),
      hiddenNorm: own.scope("pre_fc_norm_hidden"),
      projection: own.scope("fc"),
      norm: own.scope("norm"),
    };
    const layer = own.scope("layers").scope(0); // of the first layer's form
    const blocks = blocksOf(layer, attentionOf(layer), 0);
    return new MtpHead(build, ends, { width: hiddenSize, eps: normEps, normWeight: weight }, parts, blocks);
  };

  const options = { embeddings: "embed_tokens", norm: "norm", normWeight: weight, mtp } as const;
  return Decoder.load(config, build, weights, options, (layer, i) => blocksOf(layer, mixerOf(layer, i), i));
}
