import type { ConfigFile } from "./json-file";
import type { Rope } from "./rope";

/** A Mamba-2 mixer. Checked: heads * headDim = inner, groups divide heads. */
export interface SsmGeometry {
  readonly heads: number;
  readonly headDim: number;
  /** Groups of heads that share B and C. */
  readonly groups: number;
  /** State entries for each channel of a head. */
  readonly stateSize: number;
  /** Width of the convolution, 2 to 4. */
  readonly convKernel: number;
  /** Tokens of a chunk of the scan; changes speed, not the result. */
  readonly chunkSize: number;
  /** Channels of x and of the gate: heads * headDim. */
  readonly inner: number;
  /** Channels of the convolution, x | B | C: inner + 2 * groups * stateSize. */
  readonly convDim: number;
  readonly inProjBias: boolean;
  readonly outProjBias: boolean;
  readonly convBias: boolean;
  /** The time step, after softplus, is clamped to [dtMin, dtMax]; dtMax may be Infinity. */
  readonly dtMin: number;
  readonly dtMax: number;
  /** The gated RMS norm before out_proj; null where the gate is only multiplied. */
  readonly norm: GatedNormGeometry | null;
}

export interface GatedNormGeometry {
  /** Parts of `inner` that are normalised apart. */
  readonly groups: number;
  readonly eps: number;
  /** norm(x) * silu(gate) instead of norm(x * silu(gate)). */
  readonly beforeGate: boolean;
}

/** Softmax attention of grouped queries. Checked: kvHeads divide heads. */
export interface AttentionGeometry {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** null: no position encoding. */
  readonly rope: Rope | null;
  /** Factor of q * k before the softmax. */
  readonly scale: number;
  /** Whether the projections to q, k and v, and back, add one. */
  readonly bias: boolean;
}

/** swiglu: down(silu(gate) * up); gelu_glu: with the exact GELU; relu2: down(relu(up)^2). */
export type MlpKind = "swiglu" | "gelu_glu" | "relu2";

export interface MlpGeometry {
  readonly kind: MlpKind;
  readonly size: number;
  readonly bias: boolean;
}

export interface MoeGeometry {
  /** Form of each expert, the shared one included. */
  readonly kind: MlpKind;
  readonly experts: number;
  /** Experts of a token. */
  readonly topK: number;
  readonly size: number;
  /** An expert that every token uses; `gated`: times sigmoid(gate(x)). */
  readonly shared: { readonly size: number; readonly gated: boolean } | null;
  readonly router: RouterGeometry;
  /** Width that tokens are projected to before the routed experts and back from after; null: none. */
  readonly latentSize: number | null;
  /** Whether the shared expert and the projections to and from latent rows add one; experts and routers do not. */
  readonly bias: boolean;
}

export interface RouterGeometry {
  /**
   * What becomes a weight: softmax over the selected logits, softmax over all of them, or sigmoid of each, with a
   * correction bias that counts for the selection only.
   */
  readonly kind: "softmax_selected" | "softmax" | "sigmoid";
  /** Weights of a token are divided by their sum. */
  readonly normalise: boolean;
  /** Factor of the weights. */
  readonly scaling: number;
  /** Experts are selected within the `topkGroups` best of `groups` groups. */
  readonly groups: number;
  readonly topkGroups: number;
}

/** A gated delta net. Checked: keyHeads divide valueHeads. */
export interface GdnGeometry {
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly convKernel: number;
  /** Channels of the convolution, q | k | v: (2 * keyHeads * keyDim) + valueHeads * valueDim. */
  readonly convDim: number;
  /** Epsilon of the norm before the gate, over each value head. */
  readonly normEps: number;
}

/** Widths of the convolution that have a kernel. */
export function checkConvKernel(file: ConfigFile, key: string, width: number): void {
  if (width < 2 || width > 4) file.unsupported(key, "a width from 2 to 4");
}

export interface SsmSizes {
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly convKernel: number;
}

/** ERR_CONFIG for sizes of a mixer of `inner` channels that contradict each other; `from` says what inner is. */
export function checkSsm(
  file: ConfigFile,
  sizes: SsmSizes,
  inner: number,
  from: string,
  keys: Readonly<Record<"heads" | "groups" | "convKernel", string>>,
): void {
  if (sizes.heads * sizes.headDim !== inner) {
    file.reject(keys.heads, `heads of ${sizes.headDim} that make up ${from} = ${inner}`);
  }
  if (sizes.heads % sizes.groups !== 0) file.reject(keys.groups, `a divisor of the ${sizes.heads} heads`);
  checkConvKernel(file, keys.convKernel, sizes.convKernel);
}

export function checkSilu(file: ConfigFile, key: string, activation: string): void {
  if (activation !== "silu" && activation !== "swish") file.unsupported(key, "silu or swish");
}
