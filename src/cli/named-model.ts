import { existsSync } from "node:fs";
import type { EngineOptions } from "../engine/policy/config";
import { cachedModel, parseHubModel } from "../hub/cache";
import { modelPath } from "../llm/bundled-model";
import { pullWithProgress } from "./pull";

/** The model of a command, and the one that guesses for it where there is one; see ensureModel. */
export async function ensureModels(
  model: string,
  { speculativeConfig }: Pick<EngineOptions, "speculativeConfig">,
): Promise<void> {
  await ensureModel(model);
  if (speculativeConfig?.model !== undefined) await ensureModel(speculativeConfig.model);
}

/**
 * Downloads what a command was told to run, where it is the name of a model on the hub and neither a directory here nor in the
 * cache already; a model that is in the cache is used without asking the network.
 */
async function ensureModel(name: string): Promise<void> {
  const model = parseHubModel(name);
  if (model === null || existsSync(modelPath(name)) || cachedModel(name) !== null) return;
  await pullWithProgress(model);
}
