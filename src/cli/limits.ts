import { readFileSync } from "node:fs";
import { createServer } from "node:net";

/** What the operating system allows this process, as ulimit names it; null = no limit. */
export interface Limits {
  readonly openFiles: number | null;
  readonly processes: number | null;
  readonly lockedMemoryBytes: number | null;
}

const rows = {
  openFiles: "Max open files",
  processes: "Max processes",
  lockedMemoryBytes: "Max locked memory",
} as const satisfies Record<keyof Limits, string>;

/** The limits in effect; null on a system that does not tell them. */
export function readLimits(): Limits | null {
  let text: string;
  try {
    text = readFileSync("/proc/self/limits", "utf8");
  } catch {
    return null; // another operating system
  }
  return parseLimits(text);
}

/** @param text as /proc/PID/limits has it: a name, the soft limit and the hard one */
export function parseLimits(text: string): Limits {
  const of = (name: string) => {
    const soft = new RegExp(`^${name} +(\\d+|unlimited)`, "m").exec(text)?.[1];
    return soft === undefined || soft === "unlimited" ? null : Number(soft);
  };
  return {
    openFiles: of(rows.openFiles),
    processes: of(rows.processes),
    lockedMemoryBytes: of(rows.lockedMemoryBytes),
  };
}

export interface PortFacts {
  readonly port: number;
  /** Why it cannot be listened on, as EADDRINUSE; null where it can. */
  readonly error: string | null;
}

/** Whether the port that `serve` listens on by default is free on loopback. */
export function tryPort(port: number): Promise<PortFacts> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve({ port, error: error.code ?? error.message }));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve({ port, error: null })));
  });
}
