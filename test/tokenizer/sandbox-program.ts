import type { SandboxProgram } from "../../src/tokenizer/sandbox/child";

type Job = { readonly sleepMs?: number; readonly exit?: boolean; readonly fail?: string };

/** Jobs say what happens: `{ sleepMs }` blocks, `{ exit }` ends the process, `{ fail }` throws; any comes back. */
export const start: SandboxProgram<unknown, Job, object> = (data) => {
  if (data === "broken") throw new Error("cannot start");
  return (job) => {
    if (job.sleepMs) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, job.sleepMs);
    if (job.exit) process.exit(3);
    if (job.fail) throw Object.assign(new Error("failed"), { kind: job.fail });
    return { job, pid: process.pid, env: Object.keys(process.env) };
  };
};
