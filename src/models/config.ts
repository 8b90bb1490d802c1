import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../errors";
import { GgufFile, isGguf } from "../gguf/gguf-file";
import { type BambaConfig, readBamba } from "./config/bamba";
import { type FalconH1Config, readFalconH1 } from "./config/falcon-h1";
import { mergeGeneration } from "./config/generation";
import { type GraniteMoeHybridConfig, readGraniteMoeHybrid } from "./config/granite-moe-hybrid";
import { readHuggingFaceMamba2 } from "./config/huggingface";
import { ConfigFile } from "./config/json-file";
import type { Mamba2Config } from "./config/mamba2";
import { type NemotronHConfig, readNemotronH } from "./config/nemotron-h";
import { readQuantization } from "./config/quantization";
import { type Qwen35Config, type Qwen35MoeConfig, readQwen35, readQwen35Moe } from "./config/qwen3-5";
import { type Qwen3NextConfig, readQwen3Next } from "./config/qwen3-next";
import { isStateSpaces, readStateSpacesMamba2 } from "./config/state-spaces";
import { readZamba2, type Zamba2Config } from "./config/zamba2";
import { ggufConfig } from "./gguf/architectures";

export type { GenerationDefaults, TorchDtype } from "./config/language-model";
export type { Mamba2Config } from "./config/mamba2";

/** Every config that can be read, told apart by modelType; registry.ts has an architecture for each. */
export type ModelConfig =
  | Mamba2Config
  | BambaConfig
  | GraniteMoeHybridConfig
  | NemotronHConfig
  | FalconH1Config
  | Zamba2Config
  | Qwen3NextConfig
  | Qwen35Config
  | Qwen35MoeConfig;

/** Readers of config.json by its model_type. */
const readers: Readonly<Record<string, (file: ConfigFile) => ModelConfig>> = {
  mamba2: readHuggingFaceMamba2,
  bamba: readBamba,
  granitemoehybrid: readGraniteMoeHybrid,
  nemotron_h: readNemotronH,
  falcon_h1: readFalconH1,
  zamba2: readZamba2,
  qwen3_next: readQwen3Next,
  qwen3_5: readQwen35,
  qwen3_5_text: readQwen35,
  qwen3_5_moe: readQwen35Moe,
  qwen3_5_moe_text: readQwen35Moe,
};

/** Values of model_type that are read; several may be spellings of one model. */
export const knownModelTypes: readonly string[] = Object.keys(readers);

/**
 * Reads config.json of a model directory, and generation_config.json if there is one, in the dialect of Hugging Face or
 * of state-spaces, or the metadata of a file in GGUF, into one checked form. Every message names the file, the key, what was
 * expected and what came. Throws ERR_MODEL_NOT_FOUND (no such path, or another file), ERR_CONFIG (missing, malformed or
 * contradictory), ERR_WEIGHTS (a damaged file in GGUF) or ERR_MODEL_UNSUPPORTED (a model or an option that is not implemented).
 */
export function loadModelConfig(dir: string): ModelConfig {
  if (!existsSync(dir)) {
    const message = `${dir}: expected a model directory, got no such path; give the path of a directory with config.json`;
    throw new EngineError("ERR_MODEL_NOT_FOUND", message, { subject: dir });
  }
  if (!statSync(dir).isDirectory()) {
    if (isGguf(dir)) return readConfig(ggufConfig(GgufFile.open(dir)));
    const message = `${dir}: expected a model directory or a file in GGUF, got another file; give the path of a directory with config.json`;
    throw new EngineError("ERR_MODEL_NOT_FOUND", message, { subject: dir });
  }
  const config = readConfig(ConfigFile.read(join(dir, "config.json")));
  readQuantization(dir);
  const generationPath = join(dir, "generation_config.json");
  return existsSync(generationPath) ? mergeGeneration(config, ConfigFile.read(generationPath)) : config;
}

function readConfig(file: ConfigFile): ModelConfig {
  const modelType = file.value.model_type;
  if (modelType === undefined && isStateSpaces(file)) return readStateSpacesMamba2(file);
  const known = `one of ${knownModelTypes.join(", ")}`;
  if (typeof modelType !== "string")
    return file.reject("model_type", `${known}, or a state-spaces config with d_model`);
  const read = Object.hasOwn(readers, modelType) ? readers[modelType] : undefined;
  return read === undefined ? file.unsupported("model_type", known) : read(file);
}
