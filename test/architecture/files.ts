/** What the gates look at: texts by path. A gate is a function of such a map, so a test can hand it a bad one. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export type Files = ReadonlyMap<string, string>;

const root = join(__dirname, "..", "..");
const text =
  /\.(ts|js|cjs|mjs|json|h|cpp|inl|def|cu|cuh|py|sh|md|txt|gyp|jsonl|yaml|conf|service)$|(^|\/)Containerfile$|(^|\/)\.ci\/run$/;

/** All text files under these files and folders of the project; paths start at its root. */
export function readFiles(...paths: readonly string[]): Files {
  const files = new Map<string, string>();
  const visit = (path: string) => {
    if (path.endsWith("/node_modules")) return;
    const absolute = join(root, path);
    if (!existsSync(absolute)) return;
    if (statSync(absolute).isDirectory()) for (const name of readdirSync(absolute).sort()) visit(`${path}/${name}`);
    else if (text.test(path)) files.set(path, readFileSync(absolute, "utf8"));
  };
  for (const path of paths) visit(path);
  return files;
}

export function ofType(files: Files, ...extensions: readonly string[]): Files {
  return new Map([...files].filter(([path]) => extensions.some((extension) => path.endsWith(`.${extension}`))));
}

/** `files` with one more; what a seeded violation looks like. */
export function withFile(files: Files, path: string, text: string): Files {
  return new Map([...files, [path, text]]);
}
