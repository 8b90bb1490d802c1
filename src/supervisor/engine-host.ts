import type { Socket } from "node:net";
import type { EngineRequest } from "../engine/policy/request";
import { EngineError } from "../errors";
import type { LoadedEngine, LoadOptions } from "../llm/load-engine";
import { FrameReader, toFrame } from "./frames";
import { decode, encode, type FromEngine, type SentToken, type ToEngine, toSent } from "./messages";

/** Signs of life come this often at least. */
const BEAT_MS = 500;
/** Statistics go along with tokens this often at most. */
const STATS_MS = 100;
/** Time to free the device once the server is gone; a device that hangs is then left to the operating system. */
const CLOSE_MS = 5000;

export type HostLoader = (dir: string, options: LoadOptions) => Promise<LoadedEngine>;

/**
 * The engine process's side: loads an engine and runs it for the server at the other end of `socket`. Everything a step
 * produced leaves in one write. The process ends when the server closes the socket or is gone, when the model cannot be
 * loaded, and when the device is lost, each time after what is to be said has been said.
 */
export class EngineHost {
  private engine: LoadedEngine | null = null;
  private progress: FromEngine = { kind: "progress", loadedBytes: 0, totalBytes: 0 };
  /** Request ids by handle. */
  private readonly running = new Map<number, string>();
  private tokens: SentToken[] = [];
  private outgoing: FromEngine[] = [];
  private flushing = false;
  private statsAt = 0;
  private lastWords = false;

  constructor(
    private readonly socket: Socket,
    private readonly load: HostLoader,
  ) {
    const reader = new FrameReader((payload) => this.handle(decode(payload) as ToEngine));
    socket.on("data", (piece) => reader.push(piece));
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => void this.end());
    const beat = setInterval(() => this.beat(), BEAT_MS);
    socket.once("close", () => clearInterval(beat));
  }

  private handle(message: ToEngine): void {
    switch (message.kind) {
      case "start":
        void this.start(message.dir, message.options);
        break;
      case "submit":
        void this.run(message.handle, message.request);
        break;
      case "abort": {
        const id = this.running.get(message.handle);
        if (id !== undefined) this.engine?.client.abort(id);
        break;
      }
      case "score":
        void this.score(message.handle, message.ids);
        break;
    }
  }

  private async start(dir: string, options: LoadOptions): Promise<void> {
    try {
      const engine = await this.load(dir, {
        ...options,
        onProgress: (loadedBytes, totalBytes) => {
          this.progress = { kind: "progress", loadedBytes, totalBytes };
          this.send(this.progress);
        },
        onMessage: (text) => this.send({ kind: "note", text }),
      });
      this.engine = engine;
      this.beat();
      this.send({ kind: "ready", info: engine.info! });
    } catch (error) {
      this.lastWords = true;
      this.send({ kind: "loadFailed", error: toSent(error) });
    }
  }

  private async run(handle: number, request: EngineRequest): Promise<void> {
    let finished = false;
    try {
      const tokens = this.needEngine().client.submit(request);
      this.running.set(handle, request.id);
      for await (const token of tokens) {
        this.tokens.push({ handle, token });
        finished = token.finishReason !== null;
        this.flushSoon();
      }
      if (!finished) this.send({ kind: "ended", handle, error: null });
    } catch (error) {
      this.fail(handle, error);
    } finally {
      this.running.delete(handle);
      this.statsAt = 0;
    }
  }

  private async score(handle: number, ids: readonly number[]): Promise<void> {
    try {
      this.send({ kind: "scores", handle, scores: await this.needEngine().score(ids) });
    } catch (error) {
      this.fail(handle, error);
    }
  }

  private fail(handle: number, error: unknown): void {
    // Nothing works on a lost device, and only the end of the process gives it back.
    this.lastWords ||= EngineError.is(error) && error.code === "ERR_DEVICE_LOST";
    this.send({ kind: "ended", handle, error: toSent(error) });
  }

  private needEngine(): LoadedEngine {
    if (this.engine === null) throw new EngineError("ERR_NOT_READY", "the model is still being loaded");
    return this.engine;
  }

  private beat(): void {
    this.send(this.engine === null ? this.progress : { kind: "stats", stats: this.engine.client.stats() });
  }

  private send(message: FromEngine): void {
    this.outgoing.push(message);
    this.flushSoon();
  }

  /** Behind everything that this turn of the event loop still does: the requests of a step all get their tokens in it. */
  private flushSoon(): void {
    if (this.flushing) return;
    this.flushing = true;
    setImmediate(() => this.flush());
  }

  private flush(): void {
    if (this.socket.writableNeedDrain) {
      // What comes meanwhile is bounded by what the running requests may still generate.
      this.socket.once("drain", () => this.flush());
      return;
    }
    this.flushing = false;
    const messages: FromEngine[] = this.tokens.length > 0 ? [{ kind: "tokens", tokens: this.tokens }] : [];
    messages.push(...this.outgoing);
    this.tokens = [];
    this.outgoing = [];
    const now = performance.now();
    if (this.engine !== null && now - this.statsAt > STATS_MS) {
      this.statsAt = now;
      messages.push({ kind: "stats", stats: this.engine.client.stats() });
    }
    const bytes = Buffer.concat(messages.map((message) => toFrame(encode(message))));
    if (this.lastWords) this.socket.end(bytes);
    else this.socket.write(bytes);
  }

  private async end(): Promise<void> {
    // Unlike exit(), it runs no destructors of native code, which may wait for a device that hangs or is lost.
    const kill = () => process.kill(process.pid, "SIGKILL");
    if (this.lastWords) kill();
    setTimeout(kill, CLOSE_MS);
    await this.engine?.client.close();
    process.exit(0);
  }
}
