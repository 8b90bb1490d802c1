import { type ChildProcess, spawn } from "node:child_process";
import { extname, join } from "node:path";
import type { Message, Reply } from "./child";

/**
 * Why a sandboxed job gave no result: the job itself threw; it ran past its deadline; the process died (out of memory);
 * the job waited too long for its turn; the process did not start; the sandbox was closed.
 */
export type SandboxReason = "job" | "deadline" | "died" | "busy" | "start" | "closed";

export class SandboxError extends Error {
  /** @param kind What the job's own error had under this name. */
  constructor(
    readonly reason: SandboxReason,
    message: string,
    readonly kind?: string,
  ) {
    super(message);
    this.name = "SandboxError";
  }
}

export interface SandboxOptions {
  /** Path of a module whose `start` is a SandboxProgram; without its extension. */
  readonly program: string;
  /** Called once per process start. Structured-cloneable. */
  readonly data: () => unknown;
  /** V8 heap of the process, MiB. */
  readonly heapMiB: number;
}

interface Job {
  readonly payload: unknown;
  readonly deadlineMs: number;
  readonly queuedAt: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: SandboxError) => void;
}

/** Of the modules here, and of the programs: as this file was loaded, compiled or as its source. */
const extension = extname(__filename);
const childPath = join(__dirname, `child${extension}`);

const START_DEADLINE_MS = 30_000;
/** A job that could not start in this time is refused: the jobs before it each used up most of their deadlines. */
const MAX_WAIT_MS = 30_000;

/**
 * Runs jobs, one at a time, in a Node process of its own: any job can be stopped, and none can block or bring down its
 * parent. (A worker thread cannot promise the latter: V8 aborts the whole process when one large allocation does not fit
 * the thread's heap.) The process starts with the first job, stays warm, is replaced after it was killed, and does not
 * keep an otherwise finished parent alive.
 */
export class Sandbox {
  private readonly options: SandboxOptions;
  private readonly queue: Job[] = [];
  private current: Job | undefined;
  private child: ChildProcess | undefined;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(options: SandboxOptions) {
    this.options = options;
  }

  /**
   * @param payload Structured-cloneable argument of the program's job function.
   * @param deadlineMs Running time the job may take; waiting for its turn does not count.
   * @throws SandboxError
   */
  run(payload: unknown, deadlineMs: number): Promise<unknown> {
    if (this.closed) return Promise.reject(new SandboxError("closed", "the sandbox is closed"));
    return new Promise((resolve, reject) => {
      this.queue.push({ payload, deadlineMs, queuedAt: performance.now(), resolve, reject });
      this.next();
    });
  }

  /** Ends the process; what runs or waits fails with reason "closed". Resolves when the process is gone. */
  async close(): Promise<void> {
    this.closed = true;
    const child = this.child;
    child?.ref(); // or the caller's process might end in the middle of waiting
    const gone = child === undefined ? undefined : new Promise((resolve) => child.once("exit", resolve));
    for (const job of this.queue.splice(0)) job.reject(new SandboxError("closed", "the sandbox was closed"));
    this.drop("closed", "the sandbox was closed");
    await gone;
  }

  private next(): void {
    if (this.current !== undefined) return;
    const job = this.queue.shift();
    if (job === undefined) {
      this.child?.unref();
      this.child?.channel?.unref();
      return;
    }
    this.current = job;
    if (performance.now() - job.queuedAt > MAX_WAIT_MS) {
      this.settle((late) => late.reject(new SandboxError("busy", `waited ${MAX_WAIT_MS} ms behind other jobs`)));
    } else if (this.child === undefined) {
      this.start();
    } else {
      this.child.ref();
      this.child.channel?.ref();
      this.send(this.child, job);
    }
  }

  private send(child: ChildProcess, job: Job): void {
    try {
      send(child, { payload: job.payload, deadlineMs: job.deadlineMs });
    } catch (error) {
      this.settle((failed) => failed.reject(new SandboxError("job", `cannot be sent: ${messageOf(error)}`)));
      return;
    }
    this.timer = setTimeout(() => this.drop("deadline", `took longer than ${job.deadlineMs} ms`), job.deadlineMs);
  }

  private start(): void {
    const flags = [`--max-old-space-size=${this.options.heapMiB}`, "--disallow-code-generation-from-strings"];
    const child = spawn(
      process.execPath,
      [...process.execArgv, ...flags, childPath, this.options.program + extension],
      // Of the environment only the time zone: NODE_OPTIONS does not apply, and nothing secret can be read from it.
      { stdio: ["ignore", "ignore", "ignore", "ipc"], serialization: "advanced", env: timeZone() },
    );
    this.child = child;
    let ready = false;
    child.on("message", (reply: Reply) => {
      if (child !== this.child || this.current === undefined) return;
      clearTimeout(this.timer);
      if (ready) {
        this.settle((job) =>
          reply.error === undefined
            ? job.resolve(reply.value)
            : job.reject(new SandboxError("job", reply.error.message, reply.error.kind)),
        );
      } else if (reply.error === undefined) {
        ready = true;
        this.send(child, this.current);
      } else {
        this.drop("start", reply.error.message);
      }
    });
    const lost = (what: string) => {
      if (child !== this.child) return;
      if (ready) this.drop("died", `ran out of its ${this.options.heapMiB} MiB of memory, or was killed (${what})`);
      else this.drop("start", `the process did not start (${what})`);
    };
    child.on("error", (error) => lost(error.message));
    child.on("exit", (code, signal) => lost(signal ?? `exit status ${code}`));
    this.timer = setTimeout(
      () => this.drop("start", `the process took longer than ${START_DEADLINE_MS} ms to start`),
      START_DEADLINE_MS,
    );
    try {
      send(child, { data: this.options.data() });
    } catch (error) {
      this.drop("start", messageOf(error));
    }
  }

  /** Kills the process and fails the job it was started for or worked on. */
  private drop(reason: SandboxReason, message: string): void {
    this.child?.kill("SIGKILL");
    this.child = undefined;
    this.settle((job) => job.reject(new SandboxError(reason, message)));
  }

  private settle(how: (job: Job) => void): void {
    clearTimeout(this.timer);
    const job = this.current;
    this.current = undefined;
    if (job !== undefined) how(job);
    this.next();
  }
}

function send(child: ChildProcess, message: Message): void {
  child.send(message);
}

function timeZone(): NodeJS.ProcessEnv {
  return process.env.TZ === undefined ? {} : { TZ: process.env.TZ };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
