import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Tokenizer } from "../../src/tokenizer/tokenizer";

export * from "./small-tokenizers";

const made: string[] = [];
afterAll(() => {
  for (const dir of made) rmSync(dir, { recursive: true });
});

export const bundledDir = resolve(__dirname, "../../models/storyteller-6m");

/** Writes the files into a directory of its own; objects as JSON. */
export function modelDir(files: Record<string, unknown>): string {
  const dir = mkdtempSync(join(tmpdir(), "tokenizer-"));
  made.push(dir);
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(dir, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return dir;
}

export function loadJson(json: unknown, config: unknown = {}): Tokenizer {
  return Tokenizer.load(modelDir({ "tokenizer.json": json, "tokenizer_config.json": config }));
}
