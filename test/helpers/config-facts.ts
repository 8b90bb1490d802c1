/** What a config alone says of its model, counted apart from the model itself (planModel): the two are held to each other. */
import type { ModelConfig } from "../../src/models/config";
import type {
  AttentionGeometry,
  GdnGeometry,
  MlpGeometry,
  MoeGeometry,
  SsmGeometry,
} from "../../src/models/config/geometry";
import type { QwenHybridConfig } from "../../src/models/config/qwen3-next";
import type { Zamba2Config } from "../../src/models/config/zamba2";

/** Parameters by the part of the model that they belong to; norms of a part count as its own. */
export interface ParameterCounts {
  readonly embedding: number;
  /** 0 where the head is the embedding. */
  readonly head: number;
  readonly ssm: number;
  readonly linearAttention: number;
  readonly attention: number;
  readonly mlp: number;
  /** Routers, shared experts and latent projections included. */
  readonly moe: number;
  readonly finalNorm: number;
  readonly total: number;
  /** Of `total`, without the experts that a token does not use. */
  readonly active: number;
}

/** Bytes of an element of each cache. */
export interface CacheElementBytes {
  readonly conv: number;
  readonly ssm: number;
  readonly kv: number;
}

/** What depends on a config alone. Attention layers of Zamba2 are the uses of its shared blocks. */
export interface ConfigFacts {
  readonly parameters: ParameterCounts;
  /** Bytes of one sequence's recurrent states over all layers. */
  readonly stateBytes: number;
  /** Bytes of keys and values for each token of a sequence over all layers. */
  readonly kvBytesPerToken: number;
}

/** A part of one layer or of several that are alike. */
interface Part {
  readonly name: "ssm" | "linearAttention" | "attention" | "mlp" | "moe";
  readonly parameters: number;
  /** Of `parameters`, what a token does not use. */
  readonly idle?: number;
  /** Elements of a sequence's states. */
  readonly state?: { readonly conv: number; readonly ssm: number };
  /** Elements of a token's keys and values. */
  readonly kv?: number;
}

export function configFacts(config: ModelConfig, bytes: CacheElementBytes): ConfigFacts {
  const parts = partsOf(config);
  const sum = (of: (part: Part) => number) => parts.reduce((total, part) => total + of(part), 0);
  const named = (name: Part["name"]) => sum((part) => (part.name === name ? part.parameters : 0));
  const embedding = config.vocabSize * config.hiddenSize;
  const head = config.tieWordEmbeddings ? 0 : embedding;
  const finalNorm = config.hiddenSize;
  const total = embedding + head + finalNorm + sum((part) => part.parameters);
  return {
    parameters: {
      embedding,
      head,
      ssm: named("ssm"),
      linearAttention: named("linearAttention"),
      attention: named("attention"),
      mlp: named("mlp"),
      moe: named("moe"),
      finalNorm,
      total,
      active: total - sum((part) => part.idle ?? 0),
    },
    stateBytes: sum(({ state }) => (state ? state.conv * bytes.conv + state.ssm * bytes.ssm : 0)),
    kvBytesPerToken: sum((part) => part.kv ?? 0) * bytes.kv,
  };
}

function partsOf(config: ModelConfig): Part[] {
  const { hiddenSize } = config;
  switch (config.modelType) {
    case "mamba2":
      return Array<Part>(config.numLayers).fill(normed(ssmPart(config.ssm, hiddenSize), hiddenSize));
    case "bamba": {
      const mlp = normed(mlpPart(config.mlp, hiddenSize), hiddenSize);
      return config.layers.flatMap((kind) => [mixerPart(kind, config, hiddenSize), mlp]);
    }
    case "granitemoehybrid": {
      const { mlp, moe } = config;
      const feedForward = moe === null ? mlpPart(mlp!, hiddenSize) : moePart(moe, hiddenSize, false);
      return config.layers.flatMap((kind) => [mixerPart(kind, config, hiddenSize), normed(feedForward, hiddenSize)]);
    }
    case "nemotron_h": {
      let mlps = 0;
      return config.layers.map((kind) => {
        if (kind === "mlp") return normed(mlpPart(config.mlps[mlps++]!, hiddenSize), hiddenSize);
        if (kind === "moe") return normed(moePart(config.moe!, hiddenSize, true), hiddenSize);
        return mixerPart(kind, config, hiddenSize);
      });
    }
    case "falcon_h1":
      return config.layers.flatMap(() => [
        normed(ssmPart(config.ssm, hiddenSize), hiddenSize),
        attentionPart(config.attention, hiddenSize, hiddenSize),
        normed(mlpPart(config.mlp, hiddenSize), hiddenSize),
      ]);
    case "zamba2":
      return zamba2Parts(config);
    case "qwen3_next":
      return qwenParts(config, (layer) =>
        config.feedForwards[layer] === "moe"
          ? moePart(config.moe!, hiddenSize, false)
          : mlpPart(config.mlp!, hiddenSize),
      );
    case "qwen3_5":
      return qwenParts(config, () => mlpPart(config.mlp, hiddenSize));
    case "qwen3_5_moe":
      return qwenParts(config, () => moePart(config.moe, hiddenSize, false));
  }
}

/** With the norm of its input. */
function normed(part: Part, size: number): Part {
  return { ...part, parameters: part.parameters + size };
}

function mixerPart(
  kind: "mamba" | "attention",
  config: { readonly ssm: SsmGeometry | null; readonly attention: AttentionGeometry | null },
  hidden: number,
): Part {
  const part = kind === "mamba" ? ssmPart(config.ssm!, hidden) : attentionPart(config.attention!, hidden, hidden);
  return normed(part, hidden);
}

function ssmPart(ssm: SsmGeometry, hidden: number): Part {
  const { heads, inner, convDim, convKernel } = ssm;
  const projected = inner + convDim + heads;
  const biases = (ssm.inProjBias ? projected : 0) + (ssm.outProjBias ? hidden : 0) + (ssm.convBias ? convDim : 0);
  // A_log, D and dt_bias are one number per head each.
  const vectors = 3 * heads + (ssm.norm === null ? 0 : inner);
  return {
    name: "ssm",
    parameters: hidden * projected + convDim * convKernel + inner * hidden + biases + vectors,
    state: { conv: (convKernel - 1) * convDim, ssm: inner * ssm.stateSize },
  };
}

function gdnPart(gdn: GdnGeometry, hidden: number): Part {
  const { valueHeads, keyDim, valueDim, convDim, convKernel } = gdn;
  const values = valueHeads * valueDim;
  // q, k, v and z, then b and a; A_log and dt_bias; a norm that the value heads share.
  const inputs = hidden * (convDim + values + 2 * valueHeads);
  return {
    name: "linearAttention",
    parameters: inputs + convDim * convKernel + 2 * valueHeads + valueDim + values * hidden,
    state: { conv: (convKernel - 1) * convDim, ssm: values * keyDim },
  };
}

function attentionPart({ heads, kvHeads, headDim, bias }: AttentionGeometry, inputs: number, outputs: number): Part {
  const queries = heads * headDim;
  const kv = 2 * kvHeads * headDim;
  const biases = bias ? queries + kv + outputs : 0;
  return { name: "attention", parameters: inputs * (queries + kv) + queries * outputs + biases, kv };
}

/** With a gate beside each query, and norms of queries and keys. */
function gatedAttentionPart(attention: AttentionGeometry, hidden: number): Part {
  const part = attentionPart(attention, hidden, hidden);
  const gates = attention.heads * attention.headDim;
  const more = gates * (hidden + (attention.bias ? 1 : 0)) + 2 * attention.headDim;
  return { ...part, parameters: part.parameters + more };
}

function mlpParameters(kind: MlpGeometry["kind"], inputs: number, size: number, bias: boolean): number {
  const ups = kind === "relu2" ? 1 : 2;
  return (ups + 1) * inputs * size + (bias ? ups * size + inputs : 0);
}

function mlpPart({ kind, size, bias }: MlpGeometry, hidden: number): Part {
  return { name: "mlp", parameters: mlpParameters(kind, hidden, size, bias) };
}

function moePart(moe: MoeGeometry, hidden: number, correctionBias: boolean): Part {
  const { kind, experts, topK, shared, latentSize, bias } = moe;
  const expert = mlpParameters(kind, latentSize ?? hidden, moe.size, false);
  const router = experts * (hidden + (correctionBias ? 1 : 0));
  const latent = latentSize === null ? 0 : 2 * hidden * latentSize + (bias ? hidden + latentSize : 0);
  const sharedExpert =
    shared === null ? 0 : mlpParameters(kind, hidden, shared.size, bias) + (shared.gated ? hidden : 0);
  return {
    name: "moe",
    parameters: experts * expert + router + latent + sharedExpert,
    idle: (experts - topK) * expert,
  };
}

function qwenParts(
  { layers, gdn, attention, hiddenSize }: QwenHybridConfig,
  feedForward: (layer: number) => Part,
): Part[] {
  return layers.flatMap((kind, layer) => {
    const mixer = kind === "linear_attention" ? gdnPart(gdn, hiddenSize) : gatedAttentionPart(attention, hiddenSize);
    return [normed(mixer, hiddenSize), normed(feedForward(layer), hiddenSize)];
  });
}

function zamba2Parts(config: Zamba2Config): Part[] {
  const { hiddenSize: hidden, attention, mlp, sharedBlocks, adapterRank: rank, attentionAdapters } = config;
  const block = attentionPart(attention, 2 * hidden, hidden);
  const { kv } = block;
  const projections = attentionAdapters ? 3 * 2 * (2 * hidden) * rank : 0;
  const blocks = Array.from({ length: sharedBlocks }, (): Part[] => [
    { name: "attention", parameters: block.parameters + 2 * hidden },
    normed(mlpPart(mlp, hidden), hidden),
  ]);
  const uses = config.layers
    .filter((kind) => kind === "hybrid")
    .map((): Part[] => [
      // Adapters of q, k and v, and the projection that leads back from the block.
      { name: "attention", parameters: projections + hidden * hidden, kv: kv! },
      { name: "mlp", parameters: rank * (hidden + 2 * mlp.size) },
    ]);
  const mambas = config.layers.map(() => normed(ssmPart(config.ssm, hidden), hidden));
  return [...mambas, ...blocks.flat(), ...uses.flat()];
}
