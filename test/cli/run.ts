import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const root = join(__dirname, "..", "..");

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the program from its sources, in a process of its own. */
export function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const program = ["-r", join(root, "test", "helpers", "register.js"), join(root, "src", "cli", "main.ts")];
  return spawn(process.execPath, [...program, ...args], { cwd: root, env: { ...process.env, ...env } });
}

export async function outcomeOf(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
  return { code, stdout, stderr };
}

/** Runs the program to its end with `input` piped into stdin. */
export function run(args: readonly string[], { input = "", env }: { input?: string; env?: NodeJS.ProcessEnv } = {}) {
  const child = start(args, env);
  child.stdin.on("error", () => {}); // a program that reads no input may be gone before it is written
  child.stdin.end(input);
  return outcomeOf(child);
}
