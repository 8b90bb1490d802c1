import { z } from "zod";
import { chunkSize, expansion, flag, integer, orElse, size, text, timeStepLimit } from "./fields";
import type { ConfigFile } from "./json-file";
import { checkedMamba2, type Mamba2Config } from "./mamba2";

/** Options of the mixer, with the defaults of mamba_ssm's Mamba2 class. */
const mixerSchema = z.object({
  // mamba_ssm builds a Mamba-1 mixer where this is missing.
  layer: orElse(text(), "Mamba1"),
  d_state: orElse(size(4096), 128),
  d_conv: orElse(size(65_536), 4),
  expand: orElse(expansion, 2),
  headdim: orElse(size(4096), 64),
  ngroups: orElse(size(65_536), 1),
  chunk_size: orElse(chunkSize, 256),
  rmsnorm: orElse(flag(), true),
  norm_before_gate: orElse(flag(), false),
  activation: orElse(text(), "swish"),
  bias: orElse(flag(), false),
  conv_bias: orElse(flag(), true),
  D_has_hdim: orElse(flag(), false),
  d_ssm: size(1_048_576).nullish(),
  dt_limit: timeStepLimit.nullish(),
});

const schema = z.object({
  d_model: size(1_048_576),
  n_layer: size(4096),
  vocab_size: size(16_777_216),
  pad_vocab_size_multiple: orElse(size(65_536), 8),
  rms_norm: orElse(flag(), true),
  residual_in_fp32: orElse(flag(), true),
  tie_embeddings: orElse(flag(), true),
  d_intermediate: orElse(integer(0, 1_048_576, "an integer from 0"), 0),
  attn_layer_idx: orElse(z.array(z.unknown(), { error: "a list of layer numbers" }), []),
  ssm_cfg: z.looseObject({}, { error: "an object" }).nullish(),
});

/** No model_type, but the key that every one of mamba_ssm's own configs has. */
export function isStateSpaces(file: ConfigFile): boolean {
  return file.value.d_model !== undefined;
}

/** The config.json of mamba_ssm's MambaLMHeadModel, as in the state-spaces checkpoints. It names no special tokens. */
export function readStateSpacesMamba2(file: ConfigFile): Mamba2Config {
  const fields = file.fields(schema);
  const mixer = file.fields(z.object({ ssm_cfg: orElse(mixerSchema, mixerSchema.parse({})) })).ssm_cfg;
  rejectOtherModels(file, fields, mixer);
  const dInner = Math.trunc(mixer.expand * fields.d_model);
  if (dInner % mixer.headdim !== 0) file.reject("ssm_cfg.headdim", `a divisor of expand * d_model = ${dInner}`);
  const padding = fields.pad_vocab_size_multiple;
  const eps = 1e-5;
  return checkedMamba2(file, {
    config: {
      vocabSize: Math.ceil(fields.vocab_size / padding) * padding,
      hiddenSize: fields.d_model,
      numLayers: fields.n_layer,
      normEps: eps,
      tieWordEmbeddings: fields.tie_embeddings,
      residualInFp32: fields.residual_in_fp32,
      torchDtype: null,
      eosTokenIds: [],
    },
    ssm: {
      heads: dInner / mixer.headdim,
      headDim: mixer.headdim,
      groups: mixer.ngroups,
      stateSize: mixer.d_state,
      convKernel: mixer.d_conv,
      chunkSize: mixer.chunk_size,
      inProjBias: mixer.bias,
      outProjBias: mixer.bias,
      convBias: mixer.conv_bias,
      dtMin: mixer.dt_limit?.min ?? 0,
      dtMax: mixer.dt_limit?.max ?? Number.POSITIVE_INFINITY,
      norm: mixer.rmsnorm ? { groups: mixer.ngroups, eps, beforeGate: mixer.norm_before_gate } : null,
    },
    expand: mixer.expand,
    activation: mixer.activation,
    keys: {
      heads: "ssm_cfg.headdim",
      groups: "ssm_cfg.ngroups",
      convKernel: "ssm_cfg.d_conv",
      activation: "ssm_cfg.activation",
    },
  });
}

type Fields = z.output<typeof schema>;
type Mixer = z.output<typeof mixerSchema>;

/** mamba_ssm's config also describes Mamba-1, hybrids with attention and MLPs, and variants that nobody published. */
function rejectOtherModels(file: ConfigFile, fields: Fields, mixer: Mixer): void {
  if (mixer.layer !== "Mamba2") file.unsupported("ssm_cfg.layer", '"Mamba2" (Mamba-1 models are not implemented)');
  if (fields.attn_layer_idx.length > 0) file.unsupported("attn_layer_idx", "no attention layers");
  if (fields.d_intermediate > 0) file.unsupported("d_intermediate", "0 (MLP layers are not implemented)");
  if (!fields.rms_norm) file.unsupported("rms_norm", "true (LayerNorm is not implemented)");
  if (mixer.D_has_hdim) file.unsupported("ssm_cfg.D_has_hdim", "false");
  if (mixer.d_ssm !== undefined && mixer.d_ssm !== null && mixer.d_ssm !== Math.trunc(mixer.expand * fields.d_model)) {
    file.unsupported("ssm_cfg.d_ssm", "expand * d_model, or nothing");
  }
}
