import * as http from "node:http";
import * as https from "node:https";
import { StringDecoder } from "node:string_decoder";
import { EngineError } from "../../errors";
import { CompletionStream, errorText } from "./completion-stream";

/** Where requests go. */
export interface Target {
  /** Such as http://127.0.0.1:8000, without a slash at the end. */
  readonly baseUrl: string;
  /** Such as /v1/completions. */
  readonly endpoint: string;
  readonly apiKey: string | null;
}

/** What became of a request; all times in seconds, on the clock of performance.now(). */
export interface RequestOutcome {
  readonly success: boolean;
  /** When it was sent. */
  readonly startTime: number;
  /** From its arrival until it was sent: what --max-concurrency made it wait. */
  readonly queueTime: number;
  /** From sending to the first output; 0 for a failed request, as are the next two. */
  readonly ttft: number;
  /** Between an output and the next. */
  readonly itls: readonly number[];
  /** From sending to the last output. */
  readonly latency: number;
  /** As the server counts it; null where it does not say. */
  readonly promptTokens: number | null;
  readonly outputTokens: number | null;
  readonly cachedTokens: number | null;
  /** Only where it was asked for. */
  readonly text: string;
  /** Empty for a successful one. */
  readonly error: string;
}

/** Longest error body that is read, in bytes. */
const ERROR_BYTES = 16_384;

/** Sends requests over connections that stay open. */
export class Client {
  private readonly agent: http.Agent;
  private readonly transport: typeof http | typeof https;

  constructor(
    private readonly target: Target,
    private readonly options: { readonly keepText: boolean; readonly timeoutMs: number },
  ) {
    this.transport = target.baseUrl.startsWith("https:") ? https : http;
    // The generator limits what runs at once, so that waiting is counted as waiting.
    this.agent = new this.transport.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  }

  /** POSTs `body`, JSON with `stream: true`. Never rejects: a failure is an outcome. */
  async complete(body: string, arrival = performance.now()): Promise<RequestOutcome> {
    const start = performance.now();
    const stream = new CompletionStream(this.options);
    try {
      await this.receive(body, stream);
      stream.end(performance.now());
    } catch (error) {
      stream.error ??= (error as Error).message;
    }
    return toOutcome(stream, arrival, start);
  }

  /** The first of the models that the server offers. Throws ERR_IO where it cannot be asked. */
  async firstModel(): Promise<string> {
    const url = `${this.target.baseUrl}/v1/models`;
    const fail = (reason: string, cause?: unknown) =>
      new EngineError("ERR_IO", `${url}: ${reason}; check --base-url, or name the model with --model`, {
        subject: url,
        cause,
      });
    let answer: http.IncomingMessage;
    let text: string;
    try {
      answer = await this.send("GET", "/v1/models");
      text = await readText(answer, ERROR_BYTES * 64);
    } catch (cause) {
      throw fail(connectionError(cause), cause);
    }
    if (answer.statusCode !== 200) throw fail(httpError(answer, text));
    try {
      const id = (JSON.parse(text) as { data: readonly { id: string }[] }).data[0]!.id;
      if (typeof id === "string") return id;
    } catch {
      // Told below.
    }
    throw fail(`the answer names no model: ${text.slice(0, 200)}`);
  }

  close(): void {
    this.agent.destroy();
  }

  private async receive(body: string, stream: CompletionStream): Promise<void> {
    let answer: http.IncomingMessage;
    try {
      answer = await this.send("POST", this.target.endpoint, body);
    } catch (error) {
      throw new Error(connectionError(error));
    }
    if (answer.statusCode !== 200) throw new Error(httpError(answer, await readText(answer, ERROR_BYTES)));
    const decoder = new StringDecoder("utf8");
    answer.on("data", (chunk: Buffer) => stream.push(decoder.write(chunk), performance.now()));
    try {
      await ended(answer);
    } catch (error) {
      throw new Error(`the connection broke after ${stream.outputTimes.length} outputs: ${connectionError(error)}`);
    }
  }

  private send(method: "GET" | "POST", path: string, body?: string, isRetry = false): Promise<http.IncomingMessage> {
    const { baseUrl, apiKey } = this.target;
    const { timeoutMs } = this.options;
    return new Promise((resolve, reject) => {
      const headers: http.OutgoingHttpHeaders = { accept: "*/*" };
      if (apiKey !== null) headers.authorization = `Bearer ${apiKey}`;
      if (body !== undefined) {
        headers["content-type"] = "application/json";
        headers["content-length"] = Buffer.byteLength(body);
      }
      let answer: http.IncomingMessage | undefined;
      const request = this.transport.request(`${baseUrl}${path}`, { method, headers, agent: this.agent });
      const timer = setTimeout(() => {
        (answer ?? request).destroy(new Error(`no end within ${timeoutMs / 1000} s (--request-timeout)`));
      }, timeoutMs);
      request.on("close", () => clearTimeout(timer));
      request.on("response", (response) => {
        answer = response;
        resolve(response);
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        // The server closed an idle connection just as it was used again; the request has not reached it.
        const stale = request.reusedSocket && error.code === "ECONNRESET" && !isRetry;
        if (stale) this.send(method, path, body, true).then(resolve, reject);
        else reject(error);
      });
      request.end(body);
    });
  }
}

function ended(answer: http.IncomingMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    answer.on("end", resolve);
    answer.on("error", reject);
    answer.on("close", () => reject(new Error("closed")));
  });
}

async function readText(answer: http.IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= maxBytes) break;
  }
  return Buffer.concat(chunks).toString("utf8");
}

function httpError({ statusCode, statusMessage }: http.IncomingMessage, body: string): string {
  const status = `HTTP ${statusCode}${statusMessage ? ` ${statusMessage}` : ""}`;
  try {
    const { error, detail } = JSON.parse(body) as { error?: { message?: string } | string; detail?: string };
    return `${status}: ${errorText(error ?? detail ?? body)}`;
  } catch {
    return body === "" ? status : `${status}: ${body.slice(0, 200)}`;
  }
}

/** An AggregateError (a name with several addresses, none of which answers) has no message of its own. */
function connectionError(error: unknown): string {
  const { message, code, errors } = error as NodeJS.ErrnoException & { readonly errors?: readonly Error[] };
  return message || errors?.map((each) => each.message).join(", ") || String(code);
}

function toOutcome(stream: CompletionStream, arrival: number, start: number): RequestOutcome {
  const { outputTimes, lastTime, usage } = stream;
  const seconds = (from: number, to: number) => (to - from) / 1000;
  const success = stream.error === null;
  return {
    success,
    startTime: start / 1000,
    queueTime: seconds(arrival, start),
    ttft: success ? seconds(start, outputTimes[0]!) : 0,
    itls: success ? outputTimes.slice(1).map((time, i) => seconds(outputTimes[i]!, time)) : [],
    latency: success ? seconds(start, lastTime) : 0,
    promptTokens: usage?.promptTokens ?? null,
    outputTokens: usage?.completionTokens ?? null,
    cachedTokens: usage?.cachedTokens ?? null,
    text: stream.text,
    error: stream.error ?? "",
  };
}
