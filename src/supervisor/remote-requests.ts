import type { EngineRequest, EngineToken } from "../engine/policy/request";
import { TokenChannel } from "../engine/policy/token-channel";
import { EngineError } from "../errors";
import { type FromEngine, fromSent, type ToEngine } from "./messages";

interface RunningRequest {
  readonly id: string;
  readonly channel: TokenChannel;
}

interface RunningScore {
  readonly resolve: (scores: Float32Array) => void;
  readonly reject: (error: unknown) => void;
}

/** What the engine process works on: each request under the number that both processes know it by. */
export class RemoteRequests {
  private nextHandle = 0;
  private readonly requests = new Map<number, RunningRequest>();
  private readonly scores = new Map<number, RunningScore>();
  /** By request id. */
  private readonly handles = new Map<string, number>();

  constructor(private readonly send: (message: ToEngine) => void) {}

  /** Requests on their way to the engine, in it and on their way back. */
  get size(): number {
    return this.requests.size;
  }

  submit(request: EngineRequest): AsyncIterableIterator<EngineToken> {
    const { id } = request;
    if (this.handles.has(id)) throw new EngineError("ERR_REQUEST", `request id "${id}" is in use`, { subject: "id" });
    const handle = this.nextHandle++;
    const channel = new TokenChannel(() => this.abort(id));
    this.requests.set(handle, { id, channel });
    this.handles.set(id, handle);
    this.send({ kind: "submit", handle, request });
    return channel;
  }

  abort(id: string): void {
    const handle = this.handles.get(id);
    if (handle === undefined) return;
    this.settle(handle);
    this.send({ kind: "abort", handle });
  }

  score(ids: readonly number[]): Promise<Float32Array> {
    const handle = this.nextHandle++;
    return new Promise((resolve, reject) => {
      this.scores.set(handle, { resolve, reject });
      this.send({ kind: "score", handle, ids });
    });
  }

  /** Hands on what the engine process said. What it says of a request that was aborted meanwhile is dropped. */
  handle(message: Extract<FromEngine, { kind: "tokens" | "ended" | "scores" }>): void {
    switch (message.kind) {
      case "tokens":
        for (const { handle, token } of message.tokens) {
          this.requests.get(handle)?.channel.push(token);
          if (token.finishReason !== null) this.settle(handle);
        }
        break;
      case "ended":
        this.settle(message.handle, message.error === null ? undefined : fromSent(message.error));
        break;
      case "scores":
        this.scores.get(message.handle)?.resolve(message.scores);
        this.scores.delete(message.handle);
        break;
    }
  }

  failAll(error: EngineError): void {
    for (const handle of [...this.requests.keys(), ...this.scores.keys()]) this.settle(handle, error);
  }

  private settle(handle: number, error?: unknown): void {
    const request = this.requests.get(handle);
    request?.channel.end(error);
    this.requests.delete(handle);
    if (request !== undefined) this.handles.delete(request.id);
    this.scores.get(handle)?.reject(error);
    this.scores.delete(handle);
  }
}
