import { existsSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../errors";
import { mergeGeneration } from "./config/generation";
import { readHuggingFaceMamba2 } from "./config/huggingface";
import { ConfigFile } from "./config/json-file";
import type { Mamba2Config } from "./config/mamba2";
import { isStateSpaces, readStateSpacesMamba2 } from "./config/state-spaces";

export type { GenerationDefaults, Mamba2Config, TorchDtype } from "./config/mamba2";

/** One member for each model_type that can be served. */
export type ModelConfig = Mamba2Config;

/** Readers of config.json by its model_type. */
const readers: Readonly<Record<string, (file: ConfigFile) => ModelConfig>> = { mamba2: readHuggingFaceMamba2 };

export const knownModelTypes: readonly string[] = Object.keys(readers);

/**
 * Reads config.json of a model directory, and generation_config.json if there is one, in the dialect of Hugging Face or
 * of state-spaces, into one checked form. Every message names the file, the key, what was expected and what came.
 * Throws ERR_MODEL_NOT_FOUND (no such directory), ERR_CONFIG (missing, malformed or contradictory) or
 * ERR_MODEL_UNSUPPORTED (a model or an option that is not implemented).
 */
export function loadModelConfig(dir: string): ModelConfig {
  if (!existsSync(dir)) {
    const message = `${dir}: expected a model directory, got no such path; give the path of a directory with config.json`;
    throw new EngineError("ERR_MODEL_NOT_FOUND", message, { subject: dir });
  }
  const config = readConfig(ConfigFile.read(join(dir, "config.json")));
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
