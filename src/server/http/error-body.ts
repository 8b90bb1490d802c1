import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { EngineError, type ErrorCode, errorTable } from "../../errors";
import { type ErrorBody, HttpError } from "./http-error";

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/** Codes that clients know under OpenAI's names, or that say nothing beyond the status (null). */
const openAiCodes: Partial<Record<ErrorCode, string | null>> = {
  ERR_TOO_LONG: "context_length_exceeded",
  ERR_MODEL_NOT_FOUND: "model_not_found",
  ERR_OVERLOADED: "queue_full",
  ERR_REQUEST: null,
};

/** Texts for what Fastify refuses before a route sees it. */
const fastifyMessages: Readonly<Record<string, string>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "the request body must be application/json",
  FST_ERR_CTP_BODY_TOO_LARGE: "the request body is too large",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "the request body does not have the length that Content-Length says",
  FST_ERR_BAD_URL: "the request path is not a valid URL path",
};

function answer({ status, headers, body }: HttpError, retryAfterSeconds: number): ErrorAnswer {
  const retry = status === 429 || status === 503 ? { "retry-after": String(retryAfterSeconds) } : {};
  return { status, headers: { ...retry, ...headers }, body };
}

/** The engine names fields as GenerateParams does, clients as OpenAI does. */
function toParam(subject: string | undefined): string | undefined {
  return subject?.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function fromEngine(error: EngineError): HttpError {
  const { status, type, meaning } = errorTable[error.code];
  const named = openAiCodes[error.code];
  const code = named === undefined ? error.code.replace(/^ERR_/, "").toLowerCase() : named;
  // The text of a server-side failure may hold paths or native detail: it goes to the log, the client gets the table's.
  if (status >= 500) return new HttpError(status, meaning, { type, code });
  return new HttpError(status, error.message, { type, code, param: toParam(error.subject) ?? null });
}

function fromFastify(error: Error & { statusCode: number; code?: unknown }): HttpError {
  const known = typeof error.code === "string" ? fastifyMessages[error.code] : undefined;
  return new HttpError(error.statusCode, known ?? STATUS_CODES[error.statusCode] ?? "bad request");
}

function isClientError(error: unknown): error is Error & { statusCode: number } {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return false;
  return typeof error.statusCode === "number" && error.statusCode >= 400 && error.statusCode < 500;
}

/** What a client is told about any error. Never a stack, a path or the text of an error not meant for clients. */
export function toErrorAnswer(error: unknown, retryAfterSeconds: number): ErrorAnswer {
  if (error instanceof HttpError) return answer(error, retryAfterSeconds);
  if (EngineError.is(error)) return answer(fromEngine(error), retryAfterSeconds);
  if (isClientError(error)) return answer(fromFastify(error), retryAfterSeconds);
  return answer(new HttpError(500, "internal error", { code: "internal_error" }), retryAfterSeconds);
}

/** Time that a client whose request was refused has to read why. */
const FAREWELL_MS = 1000;

/** Answers what Node's HTTP parser refused, where there is no request and no reply yet. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  // What the client still sends is refused as well, and was answered the first time.
  if (error.code === "ECONNRESET" || socket.destroyed || socket.writableEnded) return;
  const [status, message] =
    error.code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? [408, "the request did not arrive in time"]
      : error.code === "HPE_HEADER_OVERFLOW"
        ? [431, "the request headers are too large"]
        : [400, "the request is not valid HTTP"];
  const body = JSON.stringify(new HttpError(status, message).body);
  if (!socket.writable) {
    socket.destroy(error);
    return;
  }
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\nConnection: close\r\n`;
  socket.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  // Closed while bytes of the client are unread, the connection would be reset, and the answer with it.
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS);
  socket.once("close", () => clearTimeout(timer));
}
