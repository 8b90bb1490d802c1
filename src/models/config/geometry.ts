import type { AttentionConfig } from "../../layers/attention-parts";
import type { GatedDeltaNetConfig } from "../../layers/gated-delta-net";
import type { Mamba2MixerConfig } from "../../layers/mamba2-parts";
import type { MlpConfig } from "../../layers/mlp";
import type { MoeConfig } from "../../layers/moe";
import type { ConfigFile } from "./json-file";
import type { Rope } from "./rope";

/** A Mamba-2 mixer. Checked: heads * headDim = inner, groups divide heads. */
export interface SsmGeometry
  extends Omit<Mamba2MixerConfig, "hiddenSize" | "inputScale" | "partScales" | "outputScale"> {
  /** Channels of x and of the gate: heads * headDim. */
  readonly inner: number;
  /** Channels of the convolution, x | B | C: inner + 2 * groups * stateSize. */
  readonly convDim: number;
}

/** Softmax attention of grouped queries. Checked: kvHeads divide heads. */
export interface AttentionGeometry extends Pick<AttentionConfig, "heads" | "kvHeads" | "headDim" | "scale" | "bias"> {
  /** null: no position encoding. */
  readonly rope: Rope | null;
}

export type MlpGeometry = Pick<MlpConfig, "kind" | "size" | "bias">;

export interface MoeGeometry extends Omit<MoeConfig, "hiddenSize" | "outputScale"> {
  /** An expert that every token uses, of the form and with the biases of all; `gated`: times sigmoid(gate(x)). */
  readonly shared: { readonly size: number; readonly gated: boolean } | null;
}

/** A gated delta net. Checked: keyHeads divide valueHeads. */
export interface GdnGeometry extends Omit<GatedDeltaNetConfig, "hiddenSize"> {
  /** Channels of the convolution, q | k | v: (2 * keyHeads * keyDim) + valueHeads * valueDim. */
  readonly convDim: number;
}

/** Widths of the convolution that have a kernel. */
export function checkConvKernel(file: ConfigFile, key: string, width: number): void {
  if (width < 2 || width > 4) file.unsupported(key, "a width from 2 to 4");
}

/** `inner`: channels, and `from` says what they are. Throws ERR_CONFIG for sizes that contradict each other. */
export function ssmGeometry(
  file: ConfigFile,
  ssm: Omit<SsmGeometry, "inner" | "convDim">,
  { inner, from }: { inner: number; from: string },
  keys: Readonly<Record<"heads" | "groups" | "convKernel", string>>,
): SsmGeometry {
  const { heads, headDim, groups, stateSize, convKernel } = ssm;
  if (heads * headDim !== inner) file.reject(keys.heads, `heads of ${headDim} that make up ${from} = ${inner}`);
  if (heads % groups !== 0) file.reject(keys.groups, `a divisor of the ${heads} heads`);
  checkConvKernel(file, keys.convKernel, convKernel);
  return { ...ssm, inner, convDim: inner + 2 * groups * stateSize };
}

export function checkSilu(file: ConfigFile, key: string, activation: string): void {
  if (activation !== "silu" && activation !== "swish") file.unsupported(key, "silu or swish");
}
