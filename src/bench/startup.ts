import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import type { LanguageModel } from "../llm/types";
import { Rng } from "./serve/random";

export interface StartupOptions {
  /** Tokens of each prompt, and new ones. */
  readonly inputLen: number;
  readonly outputLen: number;
  /** Requests after the start, one after the other. */
  readonly requests: number;
}

export interface StartupResult {
  /** Until all weights were on the device. */
  readonly weights_seconds: number;
  /** From there until the model took requests: workspace, choices of kernels, states, graphs. */
  readonly prepare_seconds: number;
  /** Bytes of the checkpoint's files; 0 for dummy weights. */
  readonly checkpoint_bytes: number;
  /** Seconds that reading the files alone takes, before; null for dummy weights. */
  readonly read_seconds: number | null;
  /** read_seconds over weights_seconds. */
  readonly read_share: number | null;
  /** From submitting each request until its first token, and until its last. */
  readonly first_token_ms: readonly number[];
  readonly latency_ms: readonly number[];
  /** The first request's latency over the last one's. */
  readonly first_to_last: number;
}

const READ_BYTES = 8 * 2 ** 20;

/**
 * Times a start and the requests after it. `dir` has the checkpoint's files, or is null for dummy weights. `load` tells each
 * time when more weights are on the device.
 */
export async function measureStartup(
  load: (onWeights: () => void) => Promise<LanguageModel>,
  dir: string | null,
  { inputLen, outputLen, requests }: StartupOptions,
): Promise<StartupResult> {
  const files = dir === null ? [] : weightFiles(dir);
  for (const file of files) readFile(file); // so that neither side waits for the disk
  const beforeRead = performance.now();
  for (const file of files) readFile(file);
  const readSeconds = (performance.now() - beforeRead) / 1000;

  const begin = performance.now();
  let weights = begin;
  const model = await load(() => {
    weights = performance.now();
  });
  const ready = performance.now();
  const weightsSeconds = (weights - begin) / 1000;
  try {
    const rng = new Rng(0);
    const firstTokens: number[] = [];
    const latencies: number[] = [];
    for (let i = 0; i < requests; i++) {
      const prompt = Array.from({ length: inputLen }, () => rng.integer(0, model.info.vocabSize - 1));
      const start = performance.now();
      let first = 0;
      for await (const _ of model.generate(prompt, { maxTokens: outputLen, ignoreEos: true, temperature: 0 })) {
        first ||= performance.now() - start;
      }
      firstTokens.push(first);
      latencies.push(performance.now() - start);
    }
    return {
      weights_seconds: weightsSeconds,
      prepare_seconds: (ready - weights) / 1000,
      checkpoint_bytes: files.reduce((sum, file) => sum + statSync(file).size, 0),
      read_seconds: dir === null ? null : readSeconds,
      read_share: dir === null ? null : readSeconds / weightsSeconds,
      first_token_ms: firstTokens,
      latency_ms: latencies,
      first_to_last: latencies[0]! / latencies.at(-1)!,
    };
  } finally {
    await model.close();
  }
}

function weightFiles(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join(dir, name));
}

function readFile(path: string): void {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  const file = openSync(path, "r");
  try {
    while (readSync(file, buffer, 0, READ_BYTES, null) > 0);
  } finally {
    closeSync(file);
  }
}
