import { z } from "zod";
import { readAttention } from "./attention";
import { flag, multiplier, normEpsilon, orElse, size } from "./fields";
import type { AttentionGeometry, MlpGeometry, SsmGeometry } from "./geometry";
import type { ConfigFile } from "./json-file";
import { type AttentionModelConfig, attentionModelFields, checkedLanguageModel, layerCount } from "./language-model";
import { readMambaKeys } from "./mamba-keys";

/** Factors of activations, which stand for the learning rates that the parts were trained with. */
export interface FalconH1Multipliers {
  readonly embedding: number;
  readonly lmHead: number;
  /** Factor of attention's keys. */
  readonly key: number;
  readonly attentionIn: number;
  readonly attentionOut: number;
  readonly ssmIn: number;
  readonly ssmOut: number;
  /** Factors of the parts of in_proj's output. */
  readonly ssm: Readonly<Record<"z" | "x" | "b" | "c" | "dt", number>>;
  /** Before the activation of the MLP. */
  readonly mlpGate: number;
  readonly mlpDown: number;
}

/** Falcon-H1: in each layer attention and a Mamba-2 mixer side by side, then an MLP. */
export interface FalconH1Config extends AttentionModelConfig {
  readonly modelType: "falcon_h1";
  readonly layers: readonly "parallel"[];
  readonly normEps: number;
  readonly ssm: SsmGeometry;
  readonly attention: AttentionGeometry;
  readonly mlp: MlpGeometry;
  readonly multipliers: FalconH1Multipliers;
}

const one = orElse(multiplier, 1);

function multipliers(count: number) {
  const error = `a list of ${count} numbers`;
  return orElse(z.array(multiplier, { error }).length(count, { error }), Array<number>(count).fill(1));
}

const schema = z.object({
  ...attentionModelFields(false),
  num_hidden_layers: layerCount,
  intermediate_size: size(1_048_576),
  rms_norm_eps: orElse(normEpsilon, 1e-5),
  mlp_bias: orElse(flag(), false),
  projectors_bias: orElse(flag(), false),
  mamba_rms_norm: orElse(flag(), false),
  mamba_norm_before_gate: orElse(flag(), true),
  embedding_multiplier: one,
  lm_head_multiplier: one,
  key_multiplier: one,
  attention_in_multiplier: one,
  attention_out_multiplier: one,
  ssm_in_multiplier: one,
  ssm_out_multiplier: one,
  ssm_multipliers: multipliers(5),
  mlp_multipliers: multipliers(2),
});

/** transformers' FalconH1Config. */
export function readFalconH1(file: ConfigFile): FalconH1Config {
  const fields = file.fields(schema);
  const { hidden_size: hiddenSize, rms_norm_eps: normEps, max_position_embeddings: maxPositions } = fields;
  return {
    modelType: "falcon_h1",
    ...checkedLanguageModel(file, fields),
    numLayers: fields.num_hidden_layers,
    maxPositions,
    tieWordEmbeddings: fields.tie_word_embeddings,
    layers: Array<"parallel">(fields.num_hidden_layers).fill("parallel"),
    normEps,
    ssm: readMambaKeys(file, {
      hiddenSize,
      obeysDSsm: true,
      outProjBias: fields.projectors_bias,
      norm: (groups) =>
        fields.mamba_rms_norm ? { groups, eps: normEps, beforeGate: fields.mamba_norm_before_gate } : null,
    }),
    attention: readAttention(file, { hiddenSize, maxPositions, partialRotaryFactor: "all" }),
    mlp: { kind: "swiglu", size: fields.intermediate_size, bias: fields.mlp_bias },
    multipliers: multipliersOf(fields),
  };
}

function multipliersOf(fields: z.output<typeof schema>): FalconH1Multipliers {
  const [z, x, b, c, dt] = fields.ssm_multipliers as [number, number, number, number, number];
  const [mlpGate, mlpDown] = fields.mlp_multipliers as [number, number];
  return {
    embedding: fields.embedding_multiplier,
    lmHead: fields.lm_head_multiplier,
    key: fields.key_multiplier,
    attentionIn: fields.attention_in_multiplier,
    attentionOut: fields.attention_out_multiplier,
    ssmIn: fields.ssm_in_multiplier,
    ssmOut: fields.ssm_out_multiplier,
    ssm: { z, x, b, c, dt },
    mlpGate,
    mlpDown,
  };
}
