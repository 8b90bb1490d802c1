import { readFileSync } from "node:fs";
import { EngineError } from "../../errors";
import type { DatasetTokenizer, SampleRequest } from "./dataset";

/** Conversations outside these limits, in tokens, are left out, as vLLM leaves them out. */
const SHAREGPT = { least: 4, mostPrompt: 1024, mostTotal: 2048 };

export interface CustomOptions {
  readonly path: string;
  /** New tokens of a prompt that names no number. */
  readonly outputLen: number;
}

/** One JSON object a line: `prompt`, and `output_tokens` where a prompt has a number of its own. */
export async function readCustom(
  { path, outputLen }: CustomOptions,
  tokenizer: DatasetTokenizer | null,
): Promise<SampleRequest[]> {
  const samples: SampleRequest[] = [];
  for (const [i, line] of readText(path).split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = `${path}:${i + 1}`;
    const { prompt, output_tokens = outputLen } = parseJson(where, line) as Record<string, unknown>;
    if (typeof prompt !== "string" || prompt === "") throw malformed(where, 'expected an object with a "prompt"');
    if (typeof output_tokens !== "number" || !Number.isInteger(output_tokens) || output_tokens < 1) {
      throw malformed(where, `output_tokens must be a whole number of at least 1, got ${String(output_tokens)}`);
    }
    const promptTokens = (await tokenizer?.encode(prompt))?.length ?? null;
    samples.push({ prompt, promptTokens, outputTokens: output_tokens });
  }
  if (samples.length === 0) throw malformed(path, "it holds no prompt");
  return samples;
}

export interface ShareGptOptions {
  readonly path: string;
  /** New tokens; null: as many as the answer of the conversation has. */
  readonly outputLen: number | null;
}

interface Conversation {
  readonly conversations?: unknown;
}

/** A JSON array of conversations: the first turn is the prompt, the second one says how long the answer is. */
export async function readShareGpt(
  { path, outputLen }: ShareGptOptions,
  tokenizer: DatasetTokenizer | null,
): Promise<SampleRequest[]> {
  if (tokenizer === null && outputLen === null) {
    const message = "how long the answers are takes a tokenizer: give --tokenizer DIR, or --sharegpt-output-len";
    throw new EngineError("ERR_ARGUMENT", message, { subject: "tokenizer" });
  }
  const { least, mostPrompt, mostTotal } = SHAREGPT;
  const entries = parseJson(path, readText(path));
  if (!Array.isArray(entries)) throw malformed(path, "expected a JSON array of conversations");
  const samples: SampleRequest[] = [];
  for (const entry of entries as readonly (Conversation | null)[]) {
    const turns = Array.isArray(entry?.conversations) ? entry.conversations : [];
    const [prompt, answer] = turns.slice(0, 2).map((turn: { readonly value?: unknown } | null) => turn?.value);
    if (typeof prompt !== "string" || typeof answer !== "string" || prompt === "") continue;
    const promptTokens = (await tokenizer?.encode(prompt))?.length ?? null;
    const outputTokens = outputLen ?? (await tokenizer!.encode(answer)).length;
    const fits =
      (promptTokens === null || (promptTokens >= least && promptTokens <= mostPrompt)) &&
      (outputLen !== null || outputTokens >= least) &&
      (promptTokens ?? 0) + outputTokens <= mostTotal;
    if (fits) samples.push({ prompt, promptTokens, outputTokens });
  }
  if (samples.length === 0) throw malformed(path, "it holds no conversation of two turns and of a fitting length");
  return samples;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new EngineError("ERR_IO", `${path} cannot be read: ${(cause as Error).message}`, { subject: path, cause });
  }
}

function parseJson(where: string, text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Told below.
  }
  throw malformed(where, "expected JSON");
}

function malformed(where: string, what: string): EngineError {
  return new EngineError("ERR_ARGUMENT", `${where}: ${what}`, { subject: where });
}
