import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Version of this package. The manifest is at the same place from src and from dist. */
export function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(join(__dirname, "..", "package.json"), "utf8")) as { version: string };
  return manifest.version;
}
