import { existsSync } from "node:fs";
import { join } from "node:path";

const models = join(__dirname, "..", "..", "models");

/** The model that comes with the package; the default of every command. */
export const BUNDLED_MODEL = "storyteller-6m";

/** A directory as given, or the name of a bundled model. */
export function modelPath(nameOrDir: string = BUNDLED_MODEL): string {
  const bundled = join(models, nameOrDir);
  return !existsSync(nameOrDir) && /^[\w.-]+$/.test(nameOrDir) && existsSync(bundled) ? bundled : nameOrDir;
}
