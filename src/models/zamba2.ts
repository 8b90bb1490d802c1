import { AdaptedLinear, type Adapter } from "../layers/adapted-linear";
import { Attention } from "../layers/attention";
import { attentionSum, qkvParts } from "../layers/attention-parts";
import type { ModelBuild } from "../layers/build";
import type { Forward } from "../layers/forward";
import { Linear, type LinearPart, outputsOf } from "../layers/linear";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { gateUpPart, Mlp, mlpSum } from "../layers/mlp";
import { PreNorm } from "../layers/pre-norm";
import { RankSum } from "../layers/rank-sum";
import { RmsNorm } from "../layers/rms-norm";
import { type StepLoad, sumWork, type Work } from "../layers/work";
import { scale } from "../ops/activation";
import type { Tensor } from "../tensor/tensor";
import { withoutModel } from "../weights/names";
import type { WeightScope } from "../weights/scope";
import type { Zamba2Config } from "./config/zamba2";
import { type Block, Decoder } from "./decoder";
import type { Model } from "./model";

/** Zamba2 (Zyphra 2024, arXiv 2411.15242): Mamba-2 layers, and transformer blocks that several hybrid layers share. */
export function loadZamba2(config: Zamba2Config, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  const { hiddenSize, normEps, layers } = config;
  const weights = checkpoint.named(withoutModel);
  const mixer = { ...config.ssm, hiddenSize };
  const stream = new DoubleStream(build, hiddenSize);
  const blocks: SharedBlock[] = [];
  let uses = 0;

  const mambaOf = (layer: WeightScope) => ({
    norm: RmsNorm.load(build, layer.scope("input_layernorm"), hiddenSize, normEps),
    mixer: new Mamba2Mixer(mixer, build, layer.scope("mamba")),
  });
  const options = {
    embeddings: "embed_tokens",
    norm: "final_layernorm",
    place: (f: Forward, embedded: Tensor) => stream.place(f, embedded),
  };
  return Decoder.load(config, build, weights, options, (layer, i) => {
    if (layers[i] === "mamba") {
      const { norm, mixer } = mambaOf(layer);
      return [new PreNorm(build, norm, mixer)];
    }
    const use = uses++;
    // The first layers with a block hold its weights; files may repeat them in others.
    if (use < config.sharedBlocks) blocks.push(new SharedBlock(config, build, layer.scope("shared_transformer")));
    else layer.ignore("shared_transformer");
    const block = blocks[use % config.sharedBlocks]!;
    const back = Linear.load(build, layer.scope("linear"), [hiddenSize, hiddenSize], false);
    return [new HybridLayer(build, stream, hiddenSize, block.use(use), back, mambaOf(layer.scope("mamba_decoder")))];
  });
}

/** The residual stream beside the embeddings, so that both are one row for a shared block. */
class DoubleStream {
  private readonly key: object;

  constructor(
    build: ModelBuild,
    private readonly hiddenSize: number,
  ) {
    this.key = build.shared("residual stream beside the embeddings");
  }

  /** [tokens, 2 hidden]. */
  rows(f: Forward): Tensor {
    return f.once(this.key, () => f.arena.tensor("f32", [f.numTokens, 2 * this.hiddenSize]));
  }

  place(f: Forward, embedded: Tensor): Tensor {
    const rows = this.rows(f);
    const [residual, embeddings] = [0, this.hiddenSize].map((begin) => rows.columns(begin, [this.hiddenSize]));
    for (const out of [residual!, embeddings!]) scale(f.stream, { out, x: embedded });
    return residual!;
  }
}

/** One use of a shared block. */
interface SharedBlockUse {
  readonly attentionNorm: RmsNorm;
  readonly attention: Attention;
  readonly mlpNorm: RmsNorm;
  readonly mlp: Mlp;
}

/** The weights of a transformer block, which several layers use. Each use has adapters and keys and values of its own. */
class SharedBlock {
  private readonly attentionNorm: RmsNorm;
  private readonly mlpNorm: RmsNorm;
  private readonly qkv: Linear;
  private readonly attentionOut: Linear;
  private readonly gateUp: Linear;
  private readonly down: Linear;

  constructor(
    private readonly config: Zamba2Config,
    private readonly build: ModelBuild,
    private readonly weights: WeightScope,
  ) {
    const { hiddenSize, normEps, attention, mlp } = config;
    const [attentionWeights, mlpWeights] = [weights.scope("self_attn"), weights.scope("feed_forward")];
    const inner = attention.heads * attention.headDim;
    this.attentionNorm = RmsNorm.load(build, weights.scope("input_layernorm"), 2 * hiddenSize, normEps);
    this.qkv = Linear.stacked(build, qkvParts(attention, build, attentionWeights), 2 * hiddenSize, attention.bias);
    this.attentionOut = Linear.load(build, attentionWeights.scope("o_proj"), [hiddenSize, inner], attention.bias, {
      ...{ role: "residual", ...attentionSum(attention, build) },
    });
    this.mlpNorm = RmsNorm.load(build, weights.scope("pre_ff_layernorm"), hiddenSize, normEps);
    this.gateUp = Linear.stacked(build, [gateUpPart(mlp, build, mlpWeights)], hiddenSize, mlp.bias);
    this.down = Linear.load(build, mlpWeights.scope("down_proj"), [hiddenSize, mlp.size], mlp.bias, {
      ...{ role: "residual", ...mlpSum(mlp, build) },
    });
  }

  /** By the `use`-th hybrid layer. */
  use(use: number): SharedBlockUse {
    const { config, build, weights } = this;
    const { hiddenSize, attention, attentionAdapters, mlp } = config;
    const adapter = (name: string, input: number, begin: number, part: LinearPart) =>
      this.adapter(weights.scope(name).scope(use), input, begin, part);
    let begin = 0;
    const projected = attentionAdapters
      ? qkvParts(attention, build, weights).map((part, i) => {
          const first = begin;
          begin += outputsOf(part);
          return adapter(`self_attn.linear_${"qkv"[i]}_adapter_list`, 2 * hiddenSize, first, part);
        })
      : [];
    const both = gateUpPart(mlp, build, weights.scope("feed_forward"));
    const gateUp = adapter("feed_forward.gate_up_proj_adapter_list", hiddenSize, 0, both);
    return {
      attentionNorm: this.attentionNorm,
      attention: new Attention(attention, build, {
        qkv: projected.length === 0 ? this.qkv : new AdaptedLinear(build, this.qkv, projected),
        out: this.attentionOut,
      }),
      mlpNorm: this.mlpNorm,
      mlp: new Mlp(mlp, build, new AdaptedLinear(build, this.gateUp, [gateUp]), this.down),
    };
  }

  /** `part`: the projection that it adds to. */
  private adapter(weights: WeightScope, input: number, begin: number, part: LinearPart): Adapter {
    const { adapterRank: rank } = this.config;
    const down = Linear.load(this.build, weights.scope(0), [rank, input], false);
    const up = Linear.stacked(this.build, [{ ...part, weights: weights.scope(1) }], rank, false);
    return { down, up, rank, begin, size: outputsOf(part) };
  }
}

/** A Mamba-2 layer whose input, and only that, has what a shared block makes of the stream and the embeddings. */
class HybridLayer implements Block {
  private readonly key: object;
  private readonly sum: RankSum;

  constructor(
    private readonly build: ModelBuild,
    private readonly stream: DoubleStream,
    private readonly hiddenSize: number,
    private readonly block: SharedBlockUse,
    private readonly back: Linear,
    private readonly mamba: { readonly norm: RmsNorm; readonly mixer: Mamba2Mixer },
  ) {
    this.key = build.shared("rows of a shared block");
    this.sum = new RankSum(build);
  }

  forward(f: Forward, residual: Tensor): void {
    const { attentionNorm, attention, mlpNorm, mlp } = this.block;
    const { sum } = this;
    const { attended, transformed, input } = f.once(this.key, () => this.prepare(f));
    const ofAttention = sum.part(f, attended);
    attention.forwardInto(f, attentionNorm.of(this.stream.rows(f)), ofAttention);
    sum.into(f, attended, ofAttention);
    const ofMlp = sum.part(f, transformed);
    mlp.forwardInto(f, mlpNorm.of(attended), ofMlp);
    sum.into(f, transformed, ofMlp);
    this.back.of(f, transformed, input);
    const { norm, mixer } = this.mamba;
    norm.forwardSumInto(f, residual, input, transformed);
    const ofMixer = sum.part(f, residual);
    mixer.forward(f, transformed, ofMixer);
    sum.addTo(f, residual, ofMixer, mixer.partNorm(f));
  }

  /** All [tokens, hidden]. */
  private prepare(f: Forward) {
    const rows = () => f.arena.tensor(this.build.dtype, [f.numTokens, this.hiddenSize]);
    return { attended: rows(), transformed: rows(), input: rows() };
  }

  work(load: StepLoad): Work {
    const { attention, mlp } = this.block;
    return sumWork([attention, mlp, this.back, this.mamba.mixer].map((part) => part.work(load)));
  }
}
