/** npm run fuzz: one target for as long as it is told to. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { StatusLine } from "../../src/cli/status-line";
import type { Finding, Progress } from "./fuzz";
import { fuzzRequests } from "./requests";

const readers = ["safetensors", "torch", "gguf", "config", "tokenizer"];
const targets = [...readers, "requests"];

const help = `npm run fuzz -- --target ${targets.join("|")} [--seconds N] [--seed N] [--json]

Readers get valid files with bytes, numbers and JSON values changed, in a process of their own: whatever the files, they are
read or refused with an error of ours, within 2 s and 512 MiB, and the process lives. "requests" sends random bodies to every
route of the server with the bundled model: each is answered in OpenAI's shape, and never with a status of 500 or more.
Exits with 1 where that is not so; files that did it are kept, and named.

  --seconds N   default 600
  --seed N      default: the time, and printed
  --json        the outcome as JSON on stdout

Example:
  npm run fuzz -- --target safetensors --seconds 60
`;

/** A process that says nothing for so long hangs in a reader. */
const HANG_MS = 20_000;

interface Outcome {
  readonly target: string;
  readonly seed: number;
  readonly executions: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
}

async function fuzzReader(target: string, seconds: number, seed: number, line: StatusLine): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), `fuzz-${target}-`));
  const end = performance.now() + 1000 * seconds;
  const total: Progress = { executions: 0, outcomes: {}, kept: 0, findings: [] };
  for (let part = seed; ; part++) {
    const left = (end - performance.now()) / 1000;
    if (left < 1) break;
    const { progress, fault } = await runChild([target, `${left}`, `${part}`, dir], (now) => {
      const time = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      line.show(`${time} s left  ${total.executions + now.executions} executions  ${now.kept} kept  ${findings(now)}`);
    });
    total.executions += progress.executions;
    for (const [kind, count] of Object.entries(progress.outcomes)) {
      total.outcomes[kind] = (total.outcomes[kind] ?? 0) + count;
    }
    total.findings.push(...progress.findings);
    if (fault === null) break;
    // The input was written before it was read: it is the one that did it.
    const kept = mkdtempSync(join(dir, "finding-"));
    cpSync(join(dir, "input"), kept, { recursive: true });
    total.findings.push({ what: fault, dir: kept });
  }
  line.clear();
  if (total.findings.length === 0) rmSync(dir, { recursive: true });
  return { target, seed, ...total };
}

const findings = ({ findings: { length } }: Progress) => `${length} findings`;

async function runChild(args: readonly string[], onProgress: (progress: Progress) => void) {
  const program = ["-r", join(__dirname, "..", "helpers", "register.js"), join(__dirname, "child.ts")];
  const options = ["--max-old-space-size=1024", ...program, ...args];
  const child = spawn(process.execPath, options, { stdio: ["ignore", "pipe", "inherit"] });
  let progress: Progress = { executions: 0, outcomes: {}, kept: 0, findings: [] };
  let fault: string | null = null;
  const hang = setTimeout(() => {
    fault = `no end within ${HANG_MS / 1000} s`;
    child.kill("SIGKILL");
  }, HANG_MS);
  createInterface({ input: child.stdout! }).on("line", (text) => {
    progress = JSON.parse(text) as Progress;
    hang.refresh();
    onProgress(progress);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  clearTimeout(hang);
  if (code !== 0) fault ??= `the process ended with ${signal ?? `status ${code}`}`;
  return { progress, fault };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...{ target: { type: "string" }, seconds: { type: "string", default: "600" }, seed: { type: "string" } },
      ...{ json: { type: "boolean", default: false }, help: { type: "boolean", default: false } },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const { target = "" } = values;
  const seconds = Number(values.seconds);
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  if (!targets.includes(target) || !(seconds > 0) || !Number.isInteger(seed)) {
    throw new Error(`--target must be one of ${targets.join(", ")}, and numbers positive\n\n${help}`);
  }
  const line = new StatusLine();
  const outcome = await (readers.includes(target)
    ? fuzzReader(target, seconds, seed, line)
    : fuzzRequests(seconds, seed, line));
  process.stdout.write(values.json ? `${JSON.stringify(outcome)}\n` : summary(outcome));
  process.exitCode = outcome.findings.length === 0 ? 0 : 1;
}

function summary({ target, seed, executions, outcomes, findings }: Outcome): string {
  const counts = Object.entries(outcomes).map(([kind, count]) => `${count} ${kind}`);
  const head = `${target}: ${executions} executions (${counts.join(", ")}), seed ${seed}, ${findings.length} findings\n`;
  return head + findings.map(({ what, dir }) => `\nFOUND, see ${dir}:\n${what}\n`).join("");
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
