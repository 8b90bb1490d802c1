import { z } from "zod";
import { flag, orElse, size } from "./fields";
import type { AttentionGeometry } from "./geometry";
import type { ConfigFile } from "./json-file";
import { readRope } from "./rope-parameters";

const schema = z.object({
  num_attention_heads: size(65_536),
  num_key_value_heads: size(65_536).nullish(),
  head_dim: size(4096).nullish(),
  attention_bias: orElse(flag(), false),
});

/** Channels of a head that the kernels take at most. */
const MAX_HEAD_DIM = 256;

export interface AttentionOptions {
  readonly hiddenSize: number;
  readonly maxPositions: number;
  /** Of RoPE, see RopeDefaults; null: no position encoding. */
  readonly partialRotaryFactor: number | "all" | null;
  /** Factor of q * k; missing: 1 / sqrt(headDim). */
  readonly scale?: number;
  /** Channels of heads of no stated size; missing: their share of hiddenSize. */
  readonly headDim?: number;
}

/** Throws ERR_MODEL_UNSUPPORTED for heads that the kernels do not have; `key` is the field that settles their size. */
export function checkHeadDim(file: ConfigFile, headDim: number, key: string): void {
  if (headDim % 8 === 0 && headDim <= MAX_HEAD_DIM) return;
  file.unsupported(key, `heads of a multiple of 8 channels, up to ${MAX_HEAD_DIM} (these have ${headDim})`);
}

/** Attention as nearly all of transformers' classes spell it. Throws ERR_CONFIG for heads that do not fit together. */
export function readAttention(file: ConfigFile, options: AttentionOptions): AttentionGeometry {
  const fields = file.fields(schema);
  const heads = fields.num_attention_heads;
  const kvHeads = fields.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) file.reject("num_key_value_heads", `a divisor of the ${heads} heads`);
  const { hiddenSize, maxPositions, partialRotaryFactor } = options;
  const headDim = fields.head_dim ?? options.headDim ?? hiddenSize / heads;
  if (!Number.isInteger(headDim)) file.reject("num_attention_heads", `a divisor of hidden_size = ${hiddenSize}`);
  checkHeadDim(file, headDim, fields.head_dim ? "head_dim" : "num_attention_heads");
  return {
    heads,
    kvHeads,
    headDim,
    rope: partialRotaryFactor === null ? null : readRope(file, { headDim, maxPositions, partialRotaryFactor }),
    scale: options.scale ?? headDim ** -0.5,
    bias: fields.attention_bias,
  };
}
