import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig, type ModelConfig } from "../../../src/models/config";
import type { TestDir } from "../../weights/files";

/** mamba2-130m in the dialect of transformers. */
export const huggingFace = {
  model_type: "mamba2",
  vocab_size: 50288,
  hidden_size: 768,
  num_hidden_layers: 24,
  num_heads: 24,
  head_dim: 64,
  state_size: 128,
  n_groups: 1,
  expand: 2,
  conv_kernel: 4,
  chunk_size: 256,
  layer_norm_epsilon: 1e-5,
  tie_word_embeddings: true,
};

/** The same model in the dialect of mamba_ssm. */
export const stateSpaces = {
  d_model: 768,
  d_intermediate: 0,
  n_layer: 24,
  vocab_size: 50277,
  ssm_cfg: { layer: "Mamba2" },
  attn_layer_idx: [],
  attn_cfg: {},
  rms_norm: true,
  residual_in_fp32: true,
  fused_add_norm: true,
  pad_vocab_size_multiple: 16,
  tie_embeddings: true,
};

export const withChanges = (changes: object) => ({ ...huggingFace, ...changes });
export const withMixer = (changes: object) => ({ ...stateSpaces, ssm_cfg: { layer: "Mamba2", ...changes } });

type Content = string | Uint8Array | object;

let folders = 0;

/** Loads a directory of its own, below `dir`, with this config.json and, if given, this generation_config.json. */
export function loadFrom(dir: TestDir, config: Content, generation?: Content): ModelConfig {
  const folder = `model-${folders++}`;
  dir.write(`${folder}/config.json`, config);
  if (generation !== undefined) dir.write(`${folder}/generation_config.json`, generation);
  return loadModelConfig(join(dir.path, folder));
}

const goldens = join(__dirname, "../../golden");

/** config.json of a golden, with changes; a change to undefined removes a key. */
export function goldenConfig(name: string, changes: object = {}): Record<string, unknown> {
  return { ...JSON.parse(withoutInfinity(readFileSync(join(goldens, name, "config.json"), "utf8"))), ...changes };
}

/** As newer releases of transformers write a number that JSON does not have. */
function withoutInfinity(text: string): string {
  return text.replace(/\bInfinity\b/g, '{"__float__": "Infinity"}');
}

export function readGolden(name: string): ModelConfig {
  return loadModelConfig(join(goldens, name));
}
