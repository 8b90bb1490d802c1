import { existsSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../errors";
import type { Addon } from "./abi";

const root = join(__dirname, "..", "..");

/** Where the builds put the addon; the first that exists is taken. */
const candidates = [
  process.env.MAMBA_SERVE_ADDON,
  join(root, "build", "Release", "mamba_serve.node"),
  join(root, "build", "Debug", "mamba_serve.node"),
].filter((path): path is string => path !== undefined && path !== "");

let addon: Addon | undefined;

/** The native addon, loaded on first use. Throws ERR_NOT_BUILT with the command that builds it. */
export function loadAddon(): Addon {
  if (addon !== undefined) return addon;
  const path = addonPath();
  if (path === undefined) {
    throw new EngineError(
      "ERR_NOT_BUILT",
      "the native addon is not built; run `npm run build` in the project's folder",
    );
  }
  let loaded: Addon;
  try {
    loaded = require(path) as Addon;
  } catch (cause) {
    throw new EngineError("ERR_NOT_BUILT", `cannot load ${path}: ${String(cause)}; rebuild it with \`npm run build\``, {
      cause,
    });
  }
  if (typeof loaded.openDevice !== "function") {
    throw new EngineError("ERR_NOT_BUILT", `${path} is not the addon of mamba-serve; check MAMBA_SERVE_ADDON`);
  }
  addon = loaded;
  return addon;
}

/** The file that loadAddon() loads, or undefined when there is none. */
export function addonPath(): string | undefined {
  return candidates.find((path) => existsSync(path));
}
