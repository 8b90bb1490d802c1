import { z } from "zod";
import { checkHeadDim } from "./attention";
import { chunkSize, expansion, flag, normEpsilon, orElse, size, text } from "./fields";
import { type AttentionGeometry, type MlpGeometry, type SsmGeometry, ssmGeometry } from "./geometry";
import type { ConfigFile } from "./json-file";
import { type AttentionModelConfig, attentionModelFields, checkedLanguageModel } from "./language-model";
import { readLayerList } from "./layer-list";
import { readRope } from "./rope-parameters";
import { timeStepBounds } from "./time-step";

/**
 * Zamba2: Mamba-2 layers. Before the mixer of a hybrid one runs a transformer block over the hidden state beside the
 * embedding, 2 * hiddenSize channels. Hybrid layers use `sharedBlocks` blocks in turn, each with adapters of its own.
 */
export interface Zamba2Config extends AttentionModelConfig {
  readonly modelType: "zamba2";
  readonly layers: readonly ("mamba" | "hybrid")[];
  readonly normEps: number;
  readonly ssm: SsmGeometry;
  /** Attention of the shared blocks, over 2 * hiddenSize channels. */
  readonly attention: AttentionGeometry;
  readonly mlp: MlpGeometry;
  readonly sharedBlocks: number;
  /** Rank of the adapters of gate and up, and of q, k and v where they have some. */
  readonly adapterRank: number;
  readonly attentionAdapters: boolean;
}

const schema = z.object({
  ...attentionModelFields(true),
  rms_norm_eps: orElse(normEpsilon, 1e-5),
  n_mamba_heads: size(65_536),
  mamba_d_state: orElse(size(4096), 64),
  mamba_d_conv: orElse(size(65_536), 4),
  mamba_expand: orElse(expansion, 2),
  mamba_ngroups: orElse(size(65_536), 1),
  chunk_size: orElse(chunkSize, 256),
  add_bias_linear: orElse(flag(), false),
  num_attention_heads: size(65_536),
  num_key_value_heads: size(65_536).nullish(),
  intermediate_size: size(1_048_576).nullish(),
  hidden_act: orElse(text(), "gelu"),
  num_mem_blocks: orElse(size(4096), 1),
  adapter_rank: orElse(size(65_536), 128),
  use_shared_attention_adapter: orElse(flag(), false),
  use_mem_rope: orElse(flag(), false),
  use_long_context: orElse(flag(), false),
});

type Fields = z.output<typeof schema>;

const LONG_CONTEXT = 16_384;

/**
 * transformers' Zamba2Config. Not read, as the class does not read them: use_conv_bias (there is one), num_hidden_layers
 * and hybrid_layer_ids (the list of layers counts), and sizes of heads, which follow from their number.
 */
export function readZamba2(file: ConfigFile): Zamba2Config {
  const fields = file.fields(schema);
  const layers = readLayerList(file, "layers_block_type", {
    mamba: "mamba",
    linear_attention: "mamba",
    hybrid: "hybrid",
  });
  if (fields.hidden_act !== "gelu") file.unsupported("hidden_act", "gelu");
  const maxPositions = fields.use_long_context ? LONG_CONTEXT : fields.max_position_embeddings;
  return {
    modelType: "zamba2",
    ...checkedLanguageModel(file, fields),
    numLayers: layers.length,
    maxPositions,
    tieWordEmbeddings: fields.tie_word_embeddings,
    layers,
    normEps: fields.rms_norm_eps,
    ssm: ssmOf(file, fields),
    attention: attentionOf(file, fields, maxPositions),
    mlp: {
      kind: "gelu_glu",
      size: fields.intermediate_size ?? 4 * fields.hidden_size,
      bias: fields.add_bias_linear,
    },
    sharedBlocks: Math.min(fields.num_mem_blocks, layers.filter((kind) => kind === "hybrid").length),
    adapterRank: fields.adapter_rank,
    attentionAdapters: fields.use_shared_attention_adapter,
  };
}

function ssmOf(file: ConfigFile, fields: Fields): SsmGeometry {
  const { n_mamba_heads: heads, mamba_ngroups: groups, mamba_d_conv: convKernel, mamba_d_state: stateSize } = fields;
  const inner = Math.trunc(fields.mamba_expand * fields.hidden_size);
  const headDim = Math.floor(inner / heads);
  const ssm = {
    heads,
    headDim,
    groups,
    stateSize,
    convKernel,
    chunkSize: fields.chunk_size,
    inProjBias: fields.add_bias_linear,
    outProjBias: fields.add_bias_linear,
    convBias: true,
    ...timeStepBounds(file),
    norm: { groups, eps: 1e-5, beforeGate: false },
  };
  const keys = { heads: "n_mamba_heads", groups: "mamba_ngroups", convKernel: "mamba_d_conv" };
  return ssmGeometry(file, ssm, { inner, from: "mamba_expand * hidden_size" }, keys);
}

function attentionOf(file: ConfigFile, fields: Fields, maxPositions: number): AttentionGeometry {
  const heads = fields.num_attention_heads;
  const kvHeads = fields.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) file.reject("num_key_value_heads", `a divisor of the ${heads} heads`);
  if ((2 * fields.hidden_size) % heads !== 0) file.reject("num_attention_heads", "a divisor of 2 * hidden_size");
  const headDim = (2 * fields.hidden_size) / heads;
  checkHeadDim(file, headDim, "num_attention_heads");
  return {
    heads,
    kvHeads,
    headDim,
    rope: fields.use_mem_rope ? readRope(file, { headDim, maxPositions, partialRotaryFactor: "all" }) : null,
    // Half of a head's channels come from the embedding.
    scale: (headDim / 2) ** -0.5,
    bias: false,
  };
}
