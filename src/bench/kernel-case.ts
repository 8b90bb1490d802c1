import type { Tensor } from "../tensor/tensor";
import type { Geometry, Layer } from "./geometries";
import type { Inputs } from "./inputs";

export const ops = [
  "causal_conv1d_update",
  "causal_conv1d_varlen",
  "ssd_state_update",
  "ssd_chunk_scan",
  "rms_norm",
  "gated_rms_norm",
  "linear",
  "rms_norm_linear",
  "embedding",
  "count_tokens",
  "apply_penalties",
  "mask_logits",
  "sample",
  "logprobs",
  "rope_store_kv",
  "attention_varlen",
  "paged_attention",
  "route",
  "sort_by_expert",
  "grouped_linear",
  "moe_combine",
  "activation",
  "gdn_update",
  "gdn_chunk",
  "copy_slots",
] as const;
export type Op = (typeof ops)[number];

/** One call of an op with its tensors. */
export interface Problem {
  readonly launch: () => void;
  /** What the call writes, the state included. */
  readonly outputs: Readonly<Record<string, Tensor>>;
}

export type Build = (inputs: Inputs) => Problem;

/** One op at one size. `op` and `name` together say all that decides its time. */
export interface KernelCase {
  readonly op: Op;
  /** Such as "dim 10240, B=8". */
  readonly name: string;
  readonly geometry: Layer;
  /** Rows of the batch. */
  readonly tokens: number;
  /** null for ops without a recurrent state. */
  readonly stateDtype: "f32" | "bf16" | null;
  /** What has to be read and written, each byte once: inputs, outputs, weights; indices (below 0.1 %) are left out. */
  readonly bytes: number;
  /** Arithmetic that has to be done: a multiplication with its addition counts as two. */
  readonly flops: number;
  readonly timed: Build;
  /** The same op on the same layer with few rows, which the CPU computes soon. */
  readonly checked: Build;
  /** Cases of one op with the same text here have the same `checked`. */
  readonly checkedName: string;
}

/** Cases as the layer of one model gives them. */
export type CasesOf<Sizes extends Layer> = (layer: Sizes) => readonly KernelCase[];
export type Cases = CasesOf<Geometry>;

/** Bytes of an activation: all cases compute in bf16. */
export const ACTIVATION = 2;
/** Bytes of an f32. */
export const FLOAT = 4;
