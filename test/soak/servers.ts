/** The two processes under test, seen from outside. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ModelInfo } from "../../src/llm/types";
import type { EngineSample } from "./engine-program";
import { readSample, type SampleKind } from "./probe";
import type { ServerSample } from "./server-program";

const PAGE_BYTES = 4096;

/** What the operating system says of both processes. */
export interface Outside {
  readonly serverRss: number;
  readonly engineRss: number;
  /** Open file descriptors. */
  readonly serverFds: number;
  readonly engineFds: number;
}

export class Servers {
  private constructor(
    private readonly child: ChildProcess,
    private readonly dir: string,
    readonly url: string,
    readonly model: ModelInfo,
    private readonly enginePid: number,
  ) {}

  static async start(): Promise<Servers> {
    const dir = mkdtempSync(join(tmpdir(), "soak-"));
    const env = {
      ...process.env,
      SOAK_ENGINE_SOCKET: join(dir, "engine.sock"),
      SOAK_SERVER_SOCKET: join(dir, "server.sock"),
    };
    const args = ["-r", join(__dirname, "..", "helpers", "register.js"), join(__dirname, "server-program.ts")];
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    const { url, info } = await firstLine(child);
    return new Servers(child, dir, url, info, enginePid(child.pid!));
  }

  /** Why the server's process is gone; null while it lives. */
  get ended(): string | null {
    const { exitCode, signalCode } = this.child;
    return exitCode === null && signalCode === null ? null : `the server ended with ${signalCode ?? exitCode}`;
  }

  server(kind: SampleKind = "now"): Promise<ServerSample> {
    return readSample<ServerSample>(join(this.dir, "server.sock"), kind);
  }

  engine(kind: SampleKind = "now"): Promise<EngineSample> {
    return readSample<EngineSample>(join(this.dir, "engine.sock"), kind);
  }

  outside(): Outside {
    return {
      serverRss: residentBytes(this.child.pid!),
      engineRss: residentBytes(this.enginePid),
      serverFds: openFiles(this.child.pid!),
      engineFds: openFiles(this.enginePid),
    };
  }

  /** Ends both, and returns the server's exit status. */
  async close(): Promise<number | null> {
    if (this.ended === null) {
      const exited = once(this.child, "exit");
      this.child.kill("SIGTERM");
      await exited;
    }
    rmSync(this.dir, { recursive: true, force: true });
    return this.child.exitCode;
  }
}

function firstLine(child: ChildProcess): Promise<{ url: string; info: ModelInfo }> {
  return new Promise((resolve, reject) => {
    let printed = "";
    child.stdout!.on("data", (text) => {
      printed += text;
      const end = printed.indexOf("\n");
      if (end >= 0) resolve(JSON.parse(printed.slice(0, end)));
    });
    child.on("exit", (code) => reject(new Error(`the server ended with ${code} before it listened`)));
  });
}

function enginePid(parent: number): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ").map(Number);
  const isEngine = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("engine-program");
  return children.find(isEngine)!;
}

function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE_BYTES;
}

function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
