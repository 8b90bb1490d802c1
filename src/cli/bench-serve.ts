import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { DatasetTokenizer } from "../bench/serve/dataset";
import type { LoadProgress } from "../bench/serve/load";
import type { ServeResult } from "../bench/serve/result";
import { runServeBench } from "../bench/serve/run";
import { percentile } from "../bench/serve/statistics";
import { serveTable } from "../bench/serve/table";
import { EngineError } from "../errors";
import { modelPath } from "../llm/bundled-model";
import { Tokenizer } from "../tokenizer/tokenizer";
import { addServeBenchFlags, type ServeBenchFlags, toServeBenchOptions } from "./bench-serve-flags";
import { StatusLine } from "./status-line";
import { formatCount, formatMeasure } from "./units";

/** Different errors that are shown. */
const SHOWN_ERRORS = 10;
/** The generator's own delay is told from this share of a measured percentile on. */
const DISTURBING_SHARE = 0.1;

export function defineBenchServe(command: Command): void {
  command.addHelpText(
    "after",
    `
The figures, their names and the table are those of \`vllm bench serve\`; bench/README.md says how each is defined.
Random prompts go to completions as token ids, so their lengths are exact. The exit code is 1 when every request failed.

Example:
  mamba-serve bench serve --num-prompts 64 --random-input-len 128 --max-concurrency 16
  mamba-serve bench serve --base-url http://gpu:8000 --request-rate 4 --percentile-metrics ttft,tpot,itl,e2el
  mamba-serve bench serve --backend openai-chat --dataset-name custom --dataset-path prompts.jsonl --goodput ttft:500`,
  );
  addServeBenchFlags(command);
  command.action((flags: ServeBenchFlags) => run(command, flags));
}

async function run(command: Command, flags: ServeBenchFlags): Promise<void> {
  const options = toServeBenchOptions(flags, (message) => command.error(`error: ${message}`));
  const resultDir = flags.resultDir ?? ".";
  // Fails now if it will: not after minutes of measuring.
  if (flags.saveResult) writing(resultDir, () => mkdirSync(resultDir, { recursive: true }));
  const status = new StatusLine();
  const start = performance.now();
  const show = (progress: LoadProgress) => status.show(progressText(progress, (performance.now() - start) / 1000));
  const tokenizer = flags.tokenizer === undefined ? null : Tokenizer.load(modelPath(flags.tokenizer));
  let result: ServeResult;
  try {
    const dataset = { ...options.dataset, tokenizer: tokenizer === null ? null : toDatasetTokenizer(tokenizer) };
    result = await runServeBench({ ...options, dataset }, show);
  } finally {
    status.clear();
    await tokenizer?.close();
  }
  const date = new Date();
  const json = `${JSON.stringify(result.toJson(date))}\n`;
  process.stdout.write(flags.json ? json : serveTable(result));
  process.stderr.write(notes(result));
  const file = join(resultDir, flags.resultFilename ?? result.fileName(date));
  if (flags.saveResult) writing(file, () => writeFileSync(file, json));
  if (result.metrics.completed === 0) process.exitCode = 1;
}

function progressText({ phase, done, failed, total }: LoadProgress, seconds: number): string {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  const what = phase === "warm-up" ? "warm-up requests" : "requests";
  return `${formatCount(done)} of ${formatCount(total)} ${what}${failures}, ${seconds.toFixed(0)} s`;
}

function toDatasetTokenizer(tokenizer: Tokenizer): DatasetTokenizer {
  const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  return {
    ordinaryIds: ids.filter((id) => tokenizer.token(id) !== undefined && !tokenizer.specialIds.has(id)),
    encode: (text) => tokenizer.encode(text),
    decode: (tokens) => tokenizer.decode(tokens),
  };
}

/** What the table has no row for, as lines for stderr. */
function notes(result: ServeResult): string {
  const { metrics, load } = result;
  const lines: string[] = [];
  const errors = result.errors();
  for (const { text, count } of errors.slice(0, SHOWN_ERRORS)) lines.push(`failed, ${formatCount(count)} x: ${text}`);
  if (errors.length > SHOWN_ERRORS) lines.push(`failed in ${errors.length - SHOWN_ERRORS} more ways`);
  if (metrics.withoutUsage > 0) {
    lines.push(
      `note: no usage came with ${formatCount(metrics.withoutUsage)} answers; each piece of text in them counts as one token`,
    );
  }
  if (metrics.totalCached !== null && metrics.totalCached > 0) {
    lines.push(
      `note: ${formatCount(metrics.totalCached)} of ${formatCount(metrics.totalInput)} input tokens came from the server's cache`,
    );
  }
  const smallest = Math.min(
    ...[metrics.samples.ttft, metrics.samples.itl].filter((values) => values.length > 0).map((v) => percentile(v, 99)),
  );
  if (load.loopDelayP99Ms > DISTURBING_SHARE * smallest) {
    lines.push(
      `note: this client itself was up to ${formatMeasure(load.loopDelayP99Ms)} ms late (p99), which is in the figures; use a machine with more free cores`,
    );
  }
  return lines.map((line) => `${line}\n`).join("");
}

function writing(path: string, write: () => void): void {
  try {
    write();
  } catch (cause) {
    throw new EngineError("ERR_IO", `${path} cannot be written: ${(cause as Error).message}`, { subject: path, cause });
  }
}
