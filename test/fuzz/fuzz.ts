/** Runs a reader over changed files, and keeps those that made it say something new as the ground for further changes. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EngineError, type ErrorCode } from "../../src/errors";
import { Rng } from "../helpers/rng";
import { mutateBytes, mutateJson, pick } from "./mutate";

/** The files of a directory, by name. */
export type Input = ReadonlyMap<string, Buffer>;

export interface Target {
  readonly name: string;
  /** Valid directories. */
  seeds(): Input[];
  /** Only these may come out, besides success. */
  readonly codes: readonly ErrorCode[];
  /**
   * Reads the directory, and checks what came out; what it throws is an error of the reader. Returns in a few words what was
   * read: inputs of the same words took the same way.
   */
  run(dir: string, input: Input): string | Promise<string>;
  /** Bytes at the start of a file where changes are worth while; all of them by default. */
  reach?(name: string, bytes: Buffer): number;
  /** Makes a changed file whole again, so that more than its first check is reached. */
  repair?(name: string, bytes: Buffer): Buffer;
}

export interface Finding {
  readonly what: string;
  /** Where the files are kept. */
  readonly dir: string;
}

export interface Progress {
  executions: number;
  /** How often each outcome came. */
  readonly outcomes: Record<string, number>;
  /** Inputs kept because their outcome was new. */
  kept: number;
  readonly findings: Finding[];
}

/** One directory that takes longer on the processor, or as many bytes more, is a finding: it would hold up a server. */
const MOST_MS = 2000;
const MOST_BYTES = 512 * 2 ** 20;
const MOST_KEPT = 500;
const LARGEST_KEPT = 400_000;

export interface FuzzOptions {
  readonly dir: string;
  readonly seed: number;
  readonly isOver: (progress: Progress) => boolean;
  readonly mostMs?: number;
}

/** Fuzzes until `isOver` says so. `dir` gets the present input, rewritten before each execution, and the findings. */
export async function fuzz(target: Target, { dir, seed, isOver, mostMs = MOST_MS }: FuzzOptions): Promise<Progress> {
  const rng = new Rng(seed);
  const seeds = target.seeds();
  /** What was read, and what was refused in a way of its own. */
  const good = [...seeds];
  const refused: Input[] = [];
  const seen = new Set<string>();
  const known = new Set<string>();
  const progress: Progress = { executions: 0, outcomes: {}, kept: 0, findings: [] };
  const inputDir = join(dir, "input");

  const execute = async (input: Input) => {
    write(inputDir, input);
    const before = process.memoryUsage.rss();
    const start = process.cpuUsage();
    let outcome = await outcomeOf(target, inputDir, input);
    const { user, system } = process.cpuUsage(start);
    const ms = (user + system) / 1000;
    const bytes = process.memoryUsage.rss() - before;
    if (ms > mostMs) outcome = { ...outcome, fault: `took ${(ms / 1000).toFixed(1)} s` };
    if (bytes > MOST_BYTES) outcome = { ...outcome, fault: `took ${Math.round(bytes / 2 ** 20)} MiB` };
    progress.executions += 1;
    progress.outcomes[outcome.kind] = (progress.outcomes[outcome.kind] ?? 0) + 1;
    if (outcome.fault !== null && !known.has(pattern(outcome.fault))) {
      known.add(pattern(outcome.fault));
      progress.findings.push({ what: outcome.fault, dir: keep(dir, input) });
    }
    const isNew = !seen.has(outcome.pattern);
    seen.add(outcome.pattern);
    return { isNew, isGood: outcome.kind === "success" };
  };

  for (const input of seeds) await execute(input);
  if (progress.outcomes.success !== seeds.length) throw new Error(`${target.name}: a seed is not valid`);
  while (!isOver(progress)) {
    // Mostly from what can be read: a file with two faults shows only the first.
    const base = pick(rng, refused.length > 0 && rng.next() < 0.2 ? refused : good);
    const input = mutated(target, base, pick(rng, seeds), rng);
    const { isNew, isGood } = await execute(input);
    const size = [...input.values()].reduce((sum, { length }) => sum + length, 0);
    const corpus = isGood ? good : refused;
    if (!isNew || size > LARGEST_KEPT || corpus.length === MOST_KEPT) continue;
    corpus.push(input);
    progress.kept += 1;
  }
  return progress;
}

interface Outcome {
  /** An error code, or "success". */
  readonly kind: string;
  /** The same for inputs that took the same way, as far as can be told. */
  readonly pattern: string;
  readonly fault: string | null;
}

async function outcomeOf(target: Target, dir: string, input: Input): Promise<Outcome> {
  try {
    return { kind: "success", pattern: await target.run(dir, input), fault: null };
  } catch (error) {
    if (EngineError.is(error)) {
      const { code, message } = error;
      const fault = target.codes.includes(code) ? null : `${code}: ${message}\n${error.stack}`;
      return { kind: code, pattern: `${code} ${pattern(message.replaceAll(dir, ""))}`, fault };
    }
    const fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { kind: "fault", pattern: pattern(fault), fault };
  }
}

/** A message without what it quotes and counts. */
function pattern(message: string): string {
  return message
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/-?\d[\d.e+]*/g, "0")
    .slice(0, 160);
}

function mutated(target: Target, base: Input, other: Input, rng: Rng): Input {
  const files = new Map(base);
  for (let changes = Math.ceil(3 * rng.next() ** 3); changes >= 0; changes--) {
    const name = pick(rng, [...files.keys()]);
    const bytes = files.get(name)!;
    const reach = rng.next() < 0.9 ? target.reach?.(name, bytes) : undefined;
    files.set(name, change(bytes, other.get(name) ?? bytes, rng, reach));
  }
  if (target.repair !== undefined && rng.next() < 0.8) {
    for (const [name, bytes] of files) files.set(name, target.repair(name, bytes));
  }
  return files;
}

/** JSON is changed as JSON half of the time, wherever it stands in the file. */
function change(bytes: Buffer, other: Buffer, rng: Rng, reach?: number): Buffer {
  if (rng.next() < 0.5) {
    const start = bytes.indexOf("{");
    const end = reach ?? bytes.length;
    const json = start < 0 ? null : mutateJson(bytes.toString("utf8", start, end), rng);
    if (json !== null) return Buffer.concat([bytes.subarray(0, start), Buffer.from(json), bytes.subarray(end)]);
  }
  return mutateBytes(bytes, other, rng, reach);
}

function write(dir: string, input: Input): void {
  mkdirSync(dir, { recursive: true });
  for (const name of readdirSync(dir)) if (!input.has(name)) rmSync(join(dir, name));
  for (const [name, bytes] of input) writeFileSync(join(dir, name), bytes);
}

/** Puts the files into a folder of their own. */
function keep(dir: string, input: Input): string {
  const folder = mkdtempSync(join(dir, "finding-"));
  write(folder, input);
  return folder;
}
