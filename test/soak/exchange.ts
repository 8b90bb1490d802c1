/** One HTTP request and what came back, for clients that may leave at any moment. */
import * as http from "node:http";
import { connect } from "node:net";

export interface HttpRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

export interface Answered {
  /** Null where the client left before the head of the answer came. */
  readonly status: number | null;
  readonly text: string;
  /** The client left before the answer was complete. */
  readonly left: boolean;
}

/** When a client leaves: in the middle of its own body, or so many milliseconds after it. */
export type Leaving = "while-sending" | number | null;

const TIMEOUT_MS = 60_000;

/** Rejects where the connection breaks, where an answer ends early and where none is complete within a minute. */
export function exchange(
  url: string,
  { method = "POST", path, headers = {}, body = "" }: HttpRequest,
  { agent, leaving = null }: { agent?: http.Agent; leaving?: Leaving },
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    let status: number | null = null;
    let text = "";
    let left = false;
    const length = Buffer.byteLength(body);
    const request = http.request(`${url}${path}`, {
      method,
      agent: agent ?? false,
      headers: { "content-type": "application/json", "content-length": length, ...headers },
    });
    const leave = () => {
      left = true;
      request.destroy();
      resolve({ status, text, left });
    };
    const timers = [setTimeout(() => request.destroy(new Error("no end within a minute")), TIMEOUT_MS)];
    request.on("close", () => {
      for (const timer of timers) clearTimeout(timer);
    });
    request.on("error", (error) => {
      if (!left) reject(error);
    });
    request.on("response", (answer) => {
      status = answer.statusCode!;
      answer.setEncoding("utf8");
      answer.on("data", (piece) => {
        text += piece;
      });
      answer.on("error", (error) => {
        if (!left) reject(error);
      });
      answer.on("end", () => resolve({ status, text, left }));
    });
    if (leaving === "while-sending") {
      request.write(body.slice(0, length >> 1));
      timers.push(setTimeout(leave, 1));
      return;
    }
    request.end(body);
    if (leaving !== null) timers.push(setTimeout(leave, leaving));
  });
}

/** Sends bytes that are no valid request, and returns the answer's status and body. */
export function exchangeRaw(url: string, bytes: string): Promise<Answered> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error("no end within a minute")));
    let text = "";
    socket.on("data", (piece) => {
      text += piece;
    });
    socket.on("error", reject);
    socket.on("close", () => {
      const [head = "", body = ""] = text.split("\r\n\r\n", 2);
      resolve({ status: Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1] ?? 0), text: body, left: false });
    });
  });
}
