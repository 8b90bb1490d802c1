import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BUNDLED_MODEL } from "../llm/bundled-model";

/** The bundled model or a model directory beside `path` whose name is like that of `path`; undefined where none is. */
export function suggestModel(path: string): string | undefined {
  const wanted = basename(path).toLowerCase();
  const candidates = [...siblings(path), BUNDLED_MODEL].map((candidate) => {
    const name = basename(candidate).toLowerCase();
    return { candidate, distance: name.startsWith(wanted) ? 1 : editDistance(wanted, name) };
  });
  const [best] = candidates.sort((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= Math.max(2, wanted.length * 0.4) ? best.candidate : undefined;
}

function siblings(path: string): string[] {
  const parent = dirname(path);
  try {
    const found = readdirSync(parent).map((name) => join(parent, name));
    return found.filter((dir) => existsSync(join(dir, "config.json")));
  } catch {
    return []; // the parent does not exist either
  }
}

/** Insertions, deletions and replacements between two strings. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
