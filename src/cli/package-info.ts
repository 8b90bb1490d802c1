import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The same place from src/cli and from dist/cli. */
const root = join(__dirname, "..", "..");

/** The commit of a checkout, with "-dirty" where files differ from it; null for an installed package. */
export function gitCommit(): string | null {
  // Without this check git would answer for a repository that the package is merely installed in.
  if (!existsSync(join(root, ".git"))) return null;
  try {
    const args = ["-C", root, "describe", "--always", "--dirty", "--exclude=*"];
    return execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return null;
  }
}
