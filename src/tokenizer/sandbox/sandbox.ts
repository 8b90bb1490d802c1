import { type ChildProcess, spawn } from "node:child_process";
import { setPriority } from "node:os";
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
  /** How many jobs of each lane run at a time; those beyond wait for their own lane alone. Default: one lane of 1. */
  readonly lanes?: readonly number[];
}

interface Job {
  readonly id: number;
  readonly payload: unknown;
  readonly deadlineMs: number;
  readonly lane: number;
  readonly queuedAt: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: SandboxError) => void;
  /** Started already in a process that another job ended. */
  retried: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** Extension of the modules here and of the programs: as this file was loaded, compiled or as its source. */
const extension = extname(__filename);
const childPath = join(__dirname, `child${extension}`);

const START_DEADLINE_MS = 30_000;
/** A job that could not start in this time is refused: the jobs before it each used up most of their deadlines. */
const MAX_WAIT_MS = 30_000;
/** Below the process that answers clients. */
const NICE = 5;

/**
 * Runs jobs in a Node process of its own: any job can be stopped, and none can block or bring down its parent. (A worker
 * thread cannot promise the latter: V8 aborts the whole process when one large allocation does not fit the thread's heap.)
 * The process starts with the first job, stays warm, is replaced after it was killed, and does not keep an otherwise
 * finished parent alive. Where several jobs run at a time, those that a killed process took with it are run once more.
 */
export class Sandbox {
  private readonly options: SandboxOptions;
  private readonly lanes: readonly number[];
  private readonly queues: Job[][];
  private readonly running = new Map<number, Job>();
  private child: ChildProcess | undefined;
  private ready = false;
  private startTimer: NodeJS.Timeout | undefined;
  private jobs = 0;
  private closed = false;

  constructor(options: SandboxOptions) {
    this.options = options;
    this.lanes = options.lanes ?? [1];
    this.queues = this.lanes.map(() => []);
  }

  /**
   * @param payload Structured-cloneable argument of the program's job function.
   * @param deadlineMs Running time the job may take; waiting for its turn does not count.
   * @throws SandboxError
   */
  run(payload: unknown, deadlineMs: number, lane = 0): Promise<unknown> {
    if (this.closed) return Promise.reject(new SandboxError("closed", "the sandbox is closed"));
    return new Promise((resolve, reject) => {
      const id = ++this.jobs;
      const queuedAt = performance.now();
      const job: Job = { id, payload, deadlineMs, lane, queuedAt, resolve, reject, retried: false, timer: undefined };
      this.queues[lane]!.push(job);
      this.next();
    });
  }

  /** Ends the process; what runs or waits fails with reason "closed". Resolves when the process is gone. */
  async close(): Promise<void> {
    this.closed = true;
    const child = this.child;
    child?.ref(); // or the caller's process might end in the middle of waiting
    const gone = child === undefined ? undefined : new Promise((resolve) => child.once("exit", resolve));
    this.kill();
    const error = new SandboxError("closed", "the sandbox was closed");
    for (const job of [...this.takeRunning(), ...this.takeQueued()]) job.reject(error);
    await gone;
  }

  /** Starts what may run now. */
  private next(): void {
    if (this.child !== undefined && !this.ready) return;
    for (const [lane, queue] of this.queues.entries()) {
      while (queue.length > 0 && this.runningIn(lane) < this.lanes[lane]!) {
        if (this.child === undefined) {
          this.start();
          return;
        }
        this.send(queue.shift()!);
      }
    }
    const idle = this.running.size === 0;
    if (idle) this.child?.unref();
    else this.child?.ref();
    if (idle) this.child?.channel?.unref();
    else this.child?.channel?.ref();
  }

  private runningIn(lane: number): number {
    let count = 0;
    for (const job of this.running.values()) if (job.lane === lane) count++;
    return count;
  }

  private send(job: Job): void {
    if (performance.now() - job.queuedAt > MAX_WAIT_MS) {
      job.reject(new SandboxError("busy", `waited ${MAX_WAIT_MS} ms behind other jobs`));
      return;
    }
    const { id, payload, deadlineMs } = job;
    try {
      this.tell({ id, payload, deadlineMs });
    } catch (error) {
      job.reject(new SandboxError("job", `cannot be sent: ${messageOf(error)}`));
      return;
    }
    this.running.set(id, job);
    job.timer = setTimeout(() => this.overran(job), deadlineMs);
  }

  private overran(job: Job): void {
    this.finish(job);
    job.reject(new SandboxError("deadline", `took longer than ${job.deadlineMs} ms`));
    this.replace(new SandboxError("died", "another job overran"));
  }

  /** Kills the process; the jobs it still ran start again, or fail with `error` where that happened to them before. */
  private replace(error: SandboxError): void {
    this.kill();
    for (const job of this.takeRunning().reverse()) {
      if (job.retried || this.lanes.every((jobs) => jobs === 1)) job.reject(error);
      else {
        job.retried = true;
        this.queues[job.lane]!.unshift(job);
      }
    }
    this.next();
  }

  private start(): void {
    const flags = [`--max-old-space-size=${this.options.heapMiB}`, "--disallow-code-generation-from-strings"];
    const threads = this.lanes.reduce((sum, jobs) => sum + jobs, 0);
    const child = spawn(
      process.execPath,
      [...process.execArgv, ...flags, childPath, this.options.program + extension],
      { stdio: ["ignore", "ignore", "ignore", "ipc"], serialization: "advanced", env: environment(threads) },
    );
    this.child = child;
    this.ready = false;
    child.on("message", (reply: Reply) => {
      if (child === this.child) this.take(reply);
    });
    const lost = (what: string) => {
      if (child !== this.child) return;
      const { heapMiB } = this.options;
      const died = `ran out of its ${heapMiB} MiB of memory, or was killed (${what})`;
      if (this.ready) this.replace(new SandboxError("died", died));
      else this.failStart(`the process did not start (${what})`);
    };
    child.on("error", (error) => lost(error.message));
    child.on("exit", (code, signal) => lost(signal ?? `exit status ${code}`));
    this.startTimer = setTimeout(
      () => this.failStart(`the process took longer than ${START_DEADLINE_MS} ms to start`),
      START_DEADLINE_MS,
    );
    try {
      this.tell({ data: this.options.data() });
    } catch (error) {
      this.failStart(messageOf(error));
    }
  }

  private take({ id, value, error }: Reply): void {
    if (id === undefined) {
      if (error !== undefined) {
        this.failStart(error.message);
        return;
      }
      clearTimeout(this.startTimer);
      this.ready = true;
      if (this.lanes.length > 1) lower(this.child!);
    } else {
      const job = this.running.get(id);
      if (job === undefined) return;
      this.finish(job);
      if (error === undefined) job.resolve(value);
      else job.reject(new SandboxError("job", error.message, error.kind));
    }
    this.next();
  }

  /** The jobs that waited for the process fail; a later one starts another. */
  private failStart(reason: string): void {
    this.kill();
    for (const job of this.takeQueued()) job.reject(new SandboxError("start", reason));
  }

  private kill(): void {
    clearTimeout(this.startTimer);
    this.child?.kill("SIGKILL");
    this.child = undefined;
    this.ready = false;
  }

  private finish(job: Job): void {
    clearTimeout(job.timer);
    this.running.delete(job.id);
  }

  private takeRunning(): Job[] {
    const jobs = [...this.running.values()];
    for (const job of jobs) this.finish(job);
    return jobs;
  }

  private takeQueued(): Job[] {
    return this.queues.flatMap((queue) => queue.splice(0));
  }

  private tell(message: Message): void {
    this.child!.send(message);
  }
}

/** The child gets only the time zone of the environment: NODE_OPTIONS does not apply, and nothing secret can be read from it. */
function environment(threads: number): NodeJS.ProcessEnv {
  const { TZ } = process.env;
  return { ...(TZ === undefined ? {} : { TZ }), ...(threads === 1 ? {} : { UV_THREADPOOL_SIZE: String(threads) }) };
}

function lower(child: ChildProcess): void {
  try {
    setPriority(child.pid!, NICE);
  } catch {
    // It ended meanwhile, or the system does not allow it: then it runs as it is.
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
