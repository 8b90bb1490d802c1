import { checkSilu, checkSsm } from "./geometry";
import type { ConfigFile } from "./json-file";
import { type LanguageModelConfig, refuseQuantization } from "./language-model";

/** A Mamba-2 language model, whatever dialect its config.json is written in. Checked: sizes fit each other. */
export interface Mamba2Config extends LanguageModelConfig {
  readonly modelType: "mamba2";
  readonly numHeads: number;
  readonly headDim: number;
  /** State entries for each channel of a head. */
  readonly stateSize: number;
  /** Groups of heads that share B and C; divides numHeads. */
  readonly numGroups: number;
  /** Width of the convolution, 2 to 4. */
  readonly convKernel: number;
  /** Tokens of a chunk of the scan; changes speed, not the result. */
  readonly chunkSize: number;
  /** numHeads * headDim. */
  readonly dInner: number;
  /** Channels of the convolution, x | B | C: dInner + 2 * numGroups * stateSize. */
  readonly convDim: number;
  readonly normEps: number;
  /** Whether in_proj and out_proj add one. */
  readonly useBias: boolean;
  readonly useConvBias: boolean;
  /** The time step, after softplus, is clamped to [dtMin, dtMax]; dtMax may be Infinity. */
  readonly dtMin: number;
  readonly dtMax: number;
  readonly residualInFp32: boolean;
  /** The mixer has a gated RMS norm before out_proj; without it the gate is only multiplied. */
  readonly rmsNorm: boolean;
}

/** Mamba2Config before the checks that both dialects share, and what the dialect calls the keys that they name. */
export interface Mamba2Draft {
  readonly config: Omit<Mamba2Config, "modelType" | "dInner" | "convDim" | "generationDefaults">;
  readonly expand: number;
  readonly activation: string;
  readonly keys: {
    readonly numHeads: string;
    readonly numGroups: string;
    readonly convKernel: string;
    readonly activation: string;
  };
}

/** Throws ERR_CONFIG for sizes that contradict each other and ERR_MODEL_UNSUPPORTED for options without a kernel. */
export function checkedMamba2(file: ConfigFile, draft: Mamba2Draft): Mamba2Config {
  const { config, keys } = draft;
  const { numHeads: heads, headDim, numGroups: groups, convKernel, stateSize } = config;
  const inner = Math.trunc(draft.expand * config.hiddenSize);
  checkSsm(file, { heads, headDim, groups, convKernel }, inner, "expand * hidden size", {
    heads: keys.numHeads,
    groups: keys.numGroups,
    convKernel: keys.convKernel,
  });
  checkSilu(file, keys.activation, draft.activation);
  refuseQuantization(file);
  const convDim = inner + 2 * groups * stateSize;
  return { modelType: "mamba2", ...config, dInner: inner, convDim, generationDefaults: {} };
}
