import { checkSilu, type SsmGeometry, ssmGeometry } from "./geometry";
import type { ConfigFile } from "./json-file";
import type { LanguageModelConfig } from "./language-model";

/** A Mamba-2 language model, whatever dialect its config.json is written in. Checked: sizes fit each other. */
export interface Mamba2Config extends LanguageModelConfig {
  readonly modelType: "mamba2";
  readonly normEps: number;
  readonly residualInFp32: boolean;
  /** The mixer of every layer. */
  readonly ssm: SsmGeometry;
}

/** Mamba2Config before the checks that both dialects share, and what the dialect calls the keys that they name. */
export interface Mamba2Draft {
  readonly config: Omit<Mamba2Config, "modelType" | "ssm" | "generationDefaults">;
  readonly ssm: Omit<SsmGeometry, "inner" | "convDim">;
  readonly expand: number;
  readonly activation: string;
  readonly keys: Readonly<Record<"heads" | "groups" | "convKernel" | "activation", string>>;
}

/** Throws ERR_CONFIG for sizes that contradict each other and ERR_MODEL_UNSUPPORTED for options without a kernel. */
export function checkedMamba2(file: ConfigFile, draft: Mamba2Draft): Mamba2Config {
  const { config, keys } = draft;
  const inner = Math.trunc(draft.expand * config.hiddenSize);
  const ssm = ssmGeometry(file, draft.ssm, { inner, from: "expand * hidden size" }, keys);
  checkSilu(file, keys.activation, draft.activation);
  return { modelType: "mamba2", ...config, ssm, generationDefaults: {} };
}
