import { z } from "zod";
import { readAttention } from "./attention";
import { flag, integer, normEpsilon, orElse, size } from "./fields";
import type { AttentionGeometry, MlpGeometry, SsmGeometry } from "./geometry";
import type { ConfigFile } from "./json-file";
import { type AttentionModelConfig, attentionModelFields, checkedLanguageModel, layerCount } from "./language-model";
import { readMambaKeys } from "./mamba-keys";

/** Bamba: layers of a Mamba-2 mixer or attention, and an MLP after each. */
export interface BambaConfig extends AttentionModelConfig {
  readonly modelType: "bamba";
  readonly layers: readonly ("mamba" | "attention")[];
  readonly normEps: number;
  readonly ssm: SsmGeometry;
  readonly attention: AttentionGeometry;
  readonly mlp: MlpGeometry;
}

const schema = z.object({
  ...attentionModelFields(false),
  num_hidden_layers: layerCount,
  intermediate_size: size(1_048_576),
  rms_norm_eps: orElse(normEpsilon, 1e-5),
  mlp_bias: orElse(flag(), false),
  attn_layer_indices: orElse(
    z.array(integer(0, 4095, "a layer number"), { error: "a list of layer numbers" }),
    [] as number[],
  ),
});

/** transformers' BambaConfig. Its class rotates half of each head unless rope_parameters says otherwise. */
export function readBamba(file: ConfigFile): BambaConfig {
  const fields = file.fields(schema);
  const { hidden_size: hiddenSize, rms_norm_eps: normEps, max_position_embeddings: maxPositions } = fields;
  const attended = new Set(fields.attn_layer_indices);
  return {
    modelType: "bamba",
    ...checkedLanguageModel(file, fields),
    numLayers: fields.num_hidden_layers,
    maxPositions,
    tieWordEmbeddings: fields.tie_word_embeddings,
    layers: Array.from({ length: fields.num_hidden_layers }, (_, i) => (attended.has(i) ? "attention" : "mamba")),
    normEps,
    ssm: readMambaKeys(file, {
      hiddenSize,
      obeysDSsm: false,
      norm: () => ({ groups: 1, eps: normEps, beforeGate: false }),
    }),
    attention: readAttention(file, {
      hiddenSize,
      maxPositions,
      partialRotaryFactor: 0.5,
    }),
    mlp: { kind: "swiglu", size: fields.intermediate_size, bias: fields.mlp_bias },
  };
}
