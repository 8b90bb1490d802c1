import { z } from "zod";
import { readAttention } from "./attention";
import { integer, multiplier, normEpsilon, orElse, size, text } from "./fields";
import { type AttentionGeometry, checkSilu, type MlpGeometry, type MoeGeometry, type SsmGeometry } from "./geometry";
import { type ConfigFile, isPresent } from "./json-file";
import { type AttentionModelConfig, attentionModelFields, checkedLanguageModel, layerCount } from "./language-model";
import { readLayerList } from "./layer-list";
import { readMambaKeys } from "./mamba-keys";

/** Granite 4: layers of a Mamba-2 mixer or attention, and experts, an MLP or both after each. */
export interface GraniteMoeHybridConfig extends AttentionModelConfig {
  readonly modelType: "granitemoehybrid";
  readonly layers: readonly ("mamba" | "attention")[];
  readonly normEps: number;
  /** null where no layer has one: such configs carry keys of a mixer that fit nothing. */
  readonly ssm: SsmGeometry | null;
  readonly attention: AttentionGeometry | null;
  /** The MLP of a dense model, called shared_mlp; with experts, it is their shared expert. */
  readonly mlp: MlpGeometry | null;
  readonly moe: MoeGeometry | null;
  /** Factor of the embeddings. */
  readonly embeddingMultiplier: number;
  /** Factor of what a mixer, attention or feed-forward part adds to the residual stream. */
  readonly residualMultiplier: number;
  /** Logits are divided by it. */
  readonly logitsScaling: number;
}

const optionalSize = integer(0, 1_048_576, "an integer from 0 to 1048576");

const schema = z.object({
  ...attentionModelFields(false),
  num_hidden_layers: layerCount,
  rms_norm_eps: orElse(normEpsilon, 1e-6),
  hidden_act: orElse(text(), "silu"),
  num_local_experts: orElse(integer(0, 65_536, "an integer from 0 to 65536"), 8),
  shared_intermediate_size: orElse(optionalSize, 1024),
  embedding_multiplier: orElse(multiplier, 1),
  attention_multiplier: orElse(multiplier, 1),
  residual_multiplier: orElse(multiplier, 1),
  logits_scaling: orElse(multiplier, 1),
  position_embedding_type: text().nullish(),
});

const expertSchema = z.object({
  intermediate_size: size(1_048_576),
  num_experts_per_tok: size(65_536),
});

/** transformers' GraniteMoeHybridConfig, written for hybrids (4.0-h) and for models of attention only (4.0). */
export function readGraniteMoeHybrid(file: ConfigFile): GraniteMoeHybridConfig {
  const fields = file.fields(schema);
  const { hidden_size: hiddenSize, rms_norm_eps: normEps, max_position_embeddings: maxPositions } = fields;
  checkSilu(file, "hidden_act", fields.hidden_act);
  const layers = layersOf(file, fields.num_hidden_layers);
  const moe = fields.num_local_experts === 0 ? null : moeOf(file, fields);
  if (moe === null && fields.shared_intermediate_size === 0) {
    file.reject("shared_intermediate_size", "an integer above 0 in a model without experts");
  }
  return {
    modelType: "granitemoehybrid",
    ...checkedLanguageModel(file, fields),
    numLayers: layers.length,
    maxPositions,
    tieWordEmbeddings: fields.tie_word_embeddings,
    layers,
    normEps,
    ssm: layers.includes("mamba")
      ? readMambaKeys(file, {
          hiddenSize,
          obeysDSsm: false,
          norm: () => ({ groups: 1, eps: normEps, beforeGate: false }),
        })
      : null,
    attention: layers.includes("attention")
      ? readAttention(file, {
          hiddenSize,
          maxPositions,
          partialRotaryFactor: fields.position_embedding_type === "rope" ? "all" : null,
          scale: fields.attention_multiplier,
        })
      : null,
    mlp: moe === null ? { kind: "swiglu", size: fields.shared_intermediate_size, bias: false } : null,
    moe,
    embeddingMultiplier: fields.embedding_multiplier,
    residualMultiplier: fields.residual_multiplier,
    logitsScaling: fields.logits_scaling,
  };
}

function layersOf(file: ConfigFile, count: number): readonly ("mamba" | "attention")[] {
  const key = isPresent(file.value.layer_types) ? "layer_types" : "layers_block_type";
  if (!isPresent(file.value[key])) return Array<"mamba">(count).fill("mamba");
  const layers = readLayerList(file, key, {
    mamba: "mamba",
    linear_attention: "mamba",
    attention: "attention",
    full_attention: "attention",
  });
  if (layers.length !== count) file.reject("num_hidden_layers", `the ${layers.length} layers of ${key}`);
  return layers;
}

function moeOf(file: ConfigFile, fields: z.output<typeof schema>): MoeGeometry {
  const { num_local_experts: experts, shared_intermediate_size: shared } = fields;
  const { intermediate_size, num_experts_per_tok: topK } = file.fields(expertSchema);
  if (topK > experts) file.reject("num_experts_per_tok", `at most the ${experts} experts`);
  return {
    kind: "swiglu",
    experts,
    topK,
    size: intermediate_size,
    shared: shared === 0 ? null : { size: shared, gated: false },
    router: { kind: "softmax_selected", normalise: false, scaling: 1, groups: 1, topkGroups: 1 },
    latentSize: null,
    bias: false,
  };
}
