import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { extname, join } from "node:path";
import { FrameReader, toFrame } from "./frames";
import { decode, encode, type FromEngine, type ToEngine } from "./messages";

/** Time that a process has to free its device when it is told to end. */
const CLOSE_MS = 6000;
/** Time from its last word to its end: what still holds it up then, destructors of a lost device say, may do so for ever. */
const EXIT_MS = 1000;

/** How an engine process is started; tests put a program of their own in its place. */
export interface EngineProgram {
  readonly path: string;
  /** Node's own arguments. */
  readonly execArgv: readonly string[];
}

/** child.ts as this file was loaded: compiled, or as its source. */
export const engineProgram: EngineProgram = {
  path: join(__dirname, `child${extname(__filename)}`),
  execArgv: process.execArgv,
};

export interface EngineProcessEvents {
  onMessage(message: FromEngine): void;
  /** Once, when the process is gone and all it said has been delivered; with what ended it, such as "SIGKILL". */
  onEnd(reason: string): void;
}

/** One engine process, from its start to its end. It shares no memory with this one, and ends with it. */
export class EngineProcess {
  private readonly child: ChildProcess;
  /** Absent where the system has no descriptors left for it; "error" follows. */
  private readonly socket: Socket | undefined;
  /** What it was killed for. */
  private fault: string | null = null;
  private ended = false;

  constructor(
    { path, execArgv }: EngineProgram,
    { env, ...events }: EngineProcessEvents & { env?: NodeJS.ProcessEnv },
  ) {
    // What it prints goes to stderr: stdout belongs to the command.
    this.child = spawn(process.execPath, [...execArgv, path], {
      stdio: ["ignore", 2, 2, "pipe"],
      env: { ...process.env, ...env },
    });
    this.socket = this.child.stdio?.[3] as Socket | undefined;
    const end = (reason: string) => {
      if (this.ended) return;
      this.ended = true;
      events.onEnd(this.fault ?? reason);
    };
    this.child.on("error", (error) => end(error.message));
    this.child.on("close", (code, signal) => end(signal ?? `exit status ${code}`));

    const reader = new FrameReader((payload) => events.onMessage(decode(payload) as FromEngine));
    this.socket?.on("data", (piece) => {
      try {
        reader.push(piece);
      } catch (error) {
        // A process that sends nonsense may do anything.
        this.socket?.removeAllListeners("data").resume();
        this.kill(error instanceof Error ? error.message : String(error));
      }
    });
    this.socket?.on("error", () => {}); // the end of the process says it
    this.socket?.on("end", () => this.killLater(EXIT_MS));
  }

  /** Into the void once the process has ended. */
  send(message: ToEngine): void {
    if (this.socket?.writable) this.socket.write(toFrame(encode(message)));
  }

  /** At once; `fault` says why, for onEnd. */
  kill(fault: string): void {
    this.fault ??= fault;
    this.child.kill("SIGKILL");
  }

  /** Lets it free its device and end; kills it where it does not. */
  close(): void {
    this.socket?.end();
    this.killLater(CLOSE_MS);
  }

  private killLater(ms: number): void {
    const timer = setTimeout(() => this.kill("it did not end by itself"), ms);
    this.child.once("close", () => clearTimeout(timer));
  }
}
