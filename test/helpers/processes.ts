import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** What a file of /proc says; "" once the process is gone. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The engine's process below this one; waits until there is one other than `old`. */
export async function enginePid(parent: number, old?: number): Promise<number> {
  for (;;) {
    const children = read(`/proc/${parent}/task/${parent}/children`).trim().split(" ").map(Number);
    const engine = children.find((pid) => pid !== old && /supervisor\/child\.[jt]s/.test(read(`/proc/${pid}/cmdline`)));
    if (engine !== undefined) return engine;
    await sleep(5);
  }
}

/** False also for a process that has ended and that nobody has waited for yet. */
export function isAlive(pid: number): boolean {
  const state = /^\d+ \(.*\) (\w)/.exec(read(`/proc/${pid}/stat`))?.[1];
  return state !== undefined && state !== "Z";
}
