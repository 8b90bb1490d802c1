/** OpenAI's error object; its clients build their exceptions from these four fields. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    /** The request field at fault, as "messages[0].content". */
    readonly param: string | null;
    /** Machine-readable reason, as "model_not_found". */
    readonly code: string | null;
  };
}

export interface HttpErrorDetails extends Partial<Omit<ErrorBody["error"], "message">> {
  readonly headers?: Readonly<Record<string, string>>;
}

/** An error that belongs to HTTP and not to the engine. Its message is shown to the client. */
export class HttpError extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  // The fields live in a body of their own because Fastify writes its own `code` onto errors that come from a validator.
  readonly body: ErrorBody;

  constructor(status: number, message: string, details: HttpErrorDetails = {}) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.headers = details.headers ?? {};
    const type = details.type ?? (status < 500 ? "invalid_request_error" : "server_error");
    this.body = { error: { message, type, param: details.param ?? null, code: details.code ?? null } };
  }
}
