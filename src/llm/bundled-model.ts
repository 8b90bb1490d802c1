import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { cachedModel, parseHubModel } from "../hub/cache";

const models = join(__dirname, "..", "..", "models");

/** The model that comes with the package; the default of every command. */
export const BUNDLED_MODEL = "storyteller-6m";

/** The directory of a model, or its file in GGUF: as given, of a bundled one by its name, or of one on the hub that has been downloaded. */
export function modelPath(nameOrDir: string = BUNDLED_MODEL): string {
  if (existsSync(nameOrDir)) return nameOrDir;
  const bundled = join(models, nameOrDir);
  if (/^[\w.-]+$/.test(nameOrDir) && existsSync(bundled)) return bundled;
  return cachedModel(nameOrDir) ?? nameOrDir;
}

/** What clients call a model unless they are told otherwise: the name of the directory or of the file, or the hub's. */
export function modelName(nameOrDir: string = BUNDLED_MODEL): string {
  const hub = existsSync(nameOrDir) ? null : parseHubModel(nameOrDir);
  if (hub?.gguf !== undefined) return `${hub.name}:${hub.gguf}`;
  return hub?.name ?? basename(resolve(nameOrDir), ".gguf");
}
