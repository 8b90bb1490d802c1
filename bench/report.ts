// Writes the tables of docs/performance.md from the newest lines of bench/results/*.jsonl, so that nobody types numbers.
// npm run bench:report [-- --check]
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cpuTable } from "./cpu-table";
import { engineTable } from "./engine-table";
import { kernelTable } from "./kernel-table";
import { prefixTable } from "./prefix-table";
import { speculationTable } from "./speculation-table";
import { stepTable } from "./step-table";

/** A table goes between `<!-- bench/results/FILE -->` and `<!-- end -->`. */
const tables: Readonly<Record<string, (lines: never[]) => string>> = {
  "cpu.jsonl": cpuTable,
  "h200-kernels.jsonl": kernelTable,
  "h200-step.jsonl": stepTable,
  "h200-quantized.jsonl": stepTable,
  "h200-engine.jsonl": engineTable,
  "h200-speculation.jsonl": speculationTable,
  "h200-prefix.jsonl": prefixTable,
};
const end = "<!-- end -->";

/** `text` with its tables written again. A table without results, or without a place in the text, is left out. */
export function withTables(text: string, resultsOf: (file: string) => string | null): string {
  let updated = text;
  for (const [file, tableOf] of Object.entries(tables)) {
    const begin = `<!-- bench/results/${file} -->`;
    const results = resultsOf(file)?.trim();
    const at = updated.indexOf(begin);
    if (!results || at < 0) continue;
    const lines = results.split("\n").map((line) => JSON.parse(line) as never);
    const rest = updated.slice(updated.indexOf(end, at));
    updated = `${updated.slice(0, at)}${begin}\n${tableOf(lines)}\n${rest}`;
  }
  return updated;
}

function main(): void {
  const root = join(__dirname, "..");
  const page = join(root, "docs", "performance.md");
  const text = readFileSync(page, "utf8");
  const updated = withTables(text, (file) => {
    const path = join(root, "bench", "results", file);
    return existsSync(path) ? readFileSync(path, "utf8") : null;
  });
  if (!process.argv.includes("--check")) writeFileSync(page, updated);
  else if (updated !== text) {
    console.error("docs/performance.md is out of date; run `npm run bench:report`");
    process.exit(1);
  }
}

if (require.main === module) main();
