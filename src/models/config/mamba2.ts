import type { ConfigFile } from "./json-file";

export type TorchDtype = "float32" | "bfloat16" | "float16";

/** Sampling that the model's authors recommend; a field is absent where they say nothing. */
export interface GenerationDefaults {
  /** 0 = greedy. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  /** 1 = off. */
  readonly repetitionPenalty?: number;
}

/** A Mamba-2 language model, whatever dialect its config.json is written in. Checked: sizes fit each other. */
export interface Mamba2Config {
  readonly modelType: "mamba2";
  /** Rows of the embedding, padding included. */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
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
  /** Of in_proj and out_proj. */
  readonly useBias: boolean;
  readonly useConvBias: boolean;
  readonly tieWordEmbeddings: boolean;
  /** The time step, after softplus, is clamped to [dtMin, dtMax]; dtMax may be Infinity. */
  readonly dtMin: number;
  readonly dtMax: number;
  readonly residualInFp32: boolean;
  /** The mixer has a gated RMS norm before out_proj; without it the gate is only multiplied. */
  readonly rmsNorm: boolean;
  /** Element type of the SSM state that the authors ask for. */
  readonly mambaSsmCacheDtype?: TorchDtype;
  /** What the weights are said to be stored as; null where config.json does not say. */
  readonly torchDtype: TorchDtype | null;
  readonly bosTokenId?: number;
  /** Of config.json and generation_config.json together; empty where neither says. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId?: number;
  readonly generationDefaults: GenerationDefaults;
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
  const dInner = config.numHeads * config.headDim;
  const expanded = Math.trunc(draft.expand * config.hiddenSize);
  if (dInner !== expanded) {
    file.reject(keys.numHeads, `heads of ${config.headDim} that make up expand * hidden size = ${expanded}`);
  }
  if (config.numHeads % config.numGroups !== 0) {
    file.reject(keys.numGroups, `a divisor of the ${config.numHeads} heads`);
  }
  if (config.convKernel < 2 || config.convKernel > 4) file.unsupported(keys.convKernel, "a width from 2 to 4");
  if (draft.activation !== "silu" && draft.activation !== "swish") file.unsupported(keys.activation, "silu or swish");
  const quantization = file.value.quantization_config;
  if (quantization !== undefined && quantization !== null)
    file.unsupported("quantization_config", "unquantised weights");
  const convDim = dInner + 2 * config.numGroups * config.stateSize;
  return { modelType: "mamba2", ...config, dInner, convDim, generationDefaults: {} };
}
