import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyReply } from "fastify";
import { stringifyJson } from "../../json/stringify";
import type { ServerOptions } from "../options";
import { type ErrorAnswer, toErrorAnswer } from "./error-body";

export type StreamOptions = Pick<ServerOptions, "pingIntervalMs" | "stallTimeoutMs" | "retryAfterSeconds">;

/** Server-sent events on a raw response. The head is written with the first event or ping, not before. */
class EventStream {
  readonly #reply: FastifyReply;
  readonly #options: StreamOptions;
  readonly #ping: NodeJS.Timeout;
  #opened = false;

  constructor(reply: FastifyReply, options: StreamOptions) {
    this.#reply = reply;
    this.#options = options;
    this.#ping = setInterval(() => this.#sendPing(), options.pingIntervalMs);
  }

  get opened(): boolean {
    return this.#opened;
  }

  /** False once the client is gone; a promise, which is to be waited for, where it reads slower than we write. */
  send(frame: string): boolean | Promise<boolean> {
    const { raw } = this.#reply;
    if (raw.destroyed) return false;
    this.#open();
    this.#ping.refresh();
    return raw.write(frame) || this.#drained();
  }

  end(): void {
    clearInterval(this.#ping);
    if (this.#opened) this.#reply.raw.end();
  }

  #open(): void {
    if (this.#opened) return;
    this.#opened = true;
    this.#reply.hijack();
    this.#reply.raw.writeHead(200, {
      ...(this.#reply.getHeaders() as OutgoingHttpHeaders),
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
  }

  #sendPing(): void {
    const { raw } = this.#reply;
    if (raw.destroyed || raw.writableNeedDrain) return;
    this.#open();
    raw.write(": ping\n\n");
  }

  #drained(): Promise<boolean> {
    const { raw } = this.#reply;
    return new Promise((resolve) => {
      const stalled = setTimeout(() => raw.destroy(), this.#options.stallTimeoutMs);
      const settle = () => {
        clearTimeout(stalled);
        raw.off("drain", settle);
        raw.off("close", settle);
        resolve(!raw.destroyed);
      };
      raw.on("drain", settle);
      raw.on("close", settle);
    });
  }
}

/** How events are written down, each as one server-sent event. */
export interface EventFormat<Event> {
  event(event: Event): string;
  /** For an error after so many events: one that the API's clients raise. */
  error(answer: ErrorAnswer, sent: number): string;
  /** After the last event. */
  readonly end: string;
}

/** As in completions: `data:` lines, and `[DONE]`. */
export const plainEvents: EventFormat<object> = {
  event: (event) => `data: ${JSON.stringify(event)}\n\n`,
  error: ({ body }) => `data: ${JSON.stringify(body)}\n\n`,
  end: "data: [DONE]\n\n",
};

/** As in responses: each event has a type, and the last one says that it is. Schemas in them are as the client wrote them. */
export const namedEvents: EventFormat<{ readonly type: string }> = {
  event: (event) => `event: ${event.type}\ndata: ${stringifyJson(event)}\n\n`,
  // A client that checks events takes one without its number for none that it knows, and the answer for complete.
  error({ body }, sent) {
    const event = { ...body.error, type: "error", sequence_number: sent, ...body };
    return `event: error\ndata: ${JSON.stringify(event)}\n\n`;
  },
  end: "",
};

/**
 * Answers with a stream of events. What fails before the first one is thrown, so that it still gets its HTTP status; later
 * errors become an event.
 */
export async function sendEvents<Event extends object>(
  reply: FastifyReply,
  events: AsyncIterable<Event>,
  options: StreamOptions,
  format: EventFormat<Event>,
): Promise<void> {
  const stream = new EventStream(reply, options);
  let sent = 0;
  try {
    for await (const event of events) {
      const isSent = stream.send(format.event(event));
      // Few writes have to be waited for, and a promise per token adds up.
      if (isSent !== true && !(await isSent)) return;
      sent++;
    }
    if (format.end !== "") await stream.send(format.end);
  } catch (error) {
    if (!stream.opened) throw error;
    const answer = toErrorAnswer(error, options.retryAfterSeconds);
    if (answer.status >= 500) reply.log.error({ err: error }, "stream failed");
    await stream.send(format.error(answer, sent) + format.end);
  } finally {
    stream.end();
  }
}
