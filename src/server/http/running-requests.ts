import { setMaxListeners } from "node:events";
import type { FastifyReply } from "fastify";
import { HttpError } from "./http-error";

/** Requests that generate. Each has an AbortController whose signal carries, as its reason, the error to answer with. */
export class RunningRequests {
  readonly #controllers = new Set<AbortController>();
  readonly #timeoutMs: number;
  /** Who waits for the last one to end. */
  readonly #waiting: (() => void)[] = [];

  /** @param timeoutMs time a request may run; 0 = no limit */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Resolves once nothing runs. */
  async idle(): Promise<void> {
    if (this.#controllers.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  get size(): number {
    return this.#controllers.size;
  }

  /** Aborts when the client leaves before its answer is complete, when time is up, or by `abortAll`. */
  begin(reply: FastifyReply): AbortController {
    const controller = new AbortController();
    // Each generation of the request listens, and a request may have thousands.
    setMaxListeners(0, controller.signal);
    const clientLeft = () => controller.abort(new HttpError(499, "the client closed the connection"));
    if (reply.raw.destroyed) {
      clientLeft();
      return controller;
    }
    this.#controllers.add(controller);
    const timer = this.#timeoutMs > 0 ? setTimeout(() => controller.abort(timeUp()), this.#timeoutMs) : undefined;
    reply.raw.once("close", () => {
      clearTimeout(timer);
      this.#controllers.delete(controller);
      if (this.#controllers.size === 0) for (const resolve of this.#waiting.splice(0)) resolve();
      if (!reply.raw.writableFinished) clientLeft();
    });
    return controller;
  }

  abortAll(reason: HttpError): void {
    for (const controller of this.#controllers) controller.abort(reason);
  }
}

const timeUp = () => new HttpError(504, "the request took longer than this server allows", { code: "timeout" });
