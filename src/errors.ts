/**
 * The one table of errors. `status` and `type` are what the HTTP server answers with (OpenAI's error shape). The rows up to
 * ERR_INTERNAL mirror MAMBA_ERROR_CODES in native/core/error.h; a test compares the two.
 */
export const errorTable = {
  ERR_SHAPE: { status: 500, type: "server_error", meaning: "a tensor has another shape than the op takes" },
  ERR_DTYPE: { status: 500, type: "server_error", meaning: "a tensor has another element type than the op takes" },
  ERR_DEVICE: { status: 500, type: "server_error", meaning: "a tensor lives on another device than the stream" },
  ERR_DISPOSED: { status: 500, type: "server_error", meaning: "a handle was used after it was freed" },
  ERR_ARGUMENT: { status: 500, type: "server_error", meaning: "an argument of a native call is out of range" },
  ERR_NOT_BUILT: { status: 500, type: "server_error", meaning: "the addon, or a backend of it, is not built" },
  ERR_NO_DEVICE: {
    status: 500,
    type: "server_error",
    meaning: "the machine lacks the device, its driver or a library",
  },
  ERR_ARENA_FULL: { status: 500, type: "server_error", meaning: "a step needs more temporary memory than was planned" },
  ERR_CAPTURE: { status: 500, type: "server_error", meaning: "not allowed while a graph is captured" },
  ERR_MEMORY: { status: 500, type: "server_error", meaning: "out of memory" },
  ERR_DEVICE_LOST: { status: 503, type: "server_error", meaning: "the device failed and cannot be used any more" },
  ERR_IO: { status: 500, type: "server_error", meaning: "a file could not be opened or read" },
  ERR_INTERNAL: { status: 500, type: "server_error", meaning: "a fault of this package; please report it" },

  ERR_MODEL_NOT_FOUND: { status: 404, type: "invalid_request_error", meaning: "no model of that name or path" },
  ERR_DOWNLOAD: {
    status: 500,
    type: "server_error",
    meaning: "a model could not be downloaded, or a file of it is not what the hub says",
  },
  ERR_MODEL_UNSUPPORTED: {
    status: 500,
    type: "server_error",
    meaning: "no implementation for this model_type or option",
  },
  ERR_CONFIG: { status: 500, type: "server_error", meaning: "config.json is missing, malformed or inconsistent" },
  ERR_WEIGHTS: {
    status: 500,
    type: "server_error",
    meaning: "a weight file is missing, cut off, malformed or of the wrong shape",
  },
  ERR_TOKENIZER: { status: 500, type: "server_error", meaning: "tokenizer files are missing or malformed" },
  ERR_CHAT_TEMPLATE: {
    status: 400,
    type: "invalid_request_error",
    meaning: "the chat template refuses these messages or arguments",
  },
  ERR_BROKEN_TEMPLATE: {
    status: 500,
    type: "server_error",
    meaning:
      "the model's chat template is malformed, uses what is not supported, or fails; the request is not at fault",
  },
  ERR_REQUEST: { status: 400, type: "invalid_request_error", meaning: "a request field is missing or out of range" },
  ERR_TOO_LONG: { status: 400, type: "invalid_request_error", meaning: "prompt and output do not fit the context" },
  ERR_OVERLOADED: { status: 429, type: "rate_limit_error", meaning: "the queue is full; try again later" },
  ERR_ABORTED: { status: 499, type: "invalid_request_error", meaning: "the caller aborted the request" },
  ERR_CLOSED: { status: 503, type: "server_error", meaning: "the engine is closed or closing" },
  ERR_NOT_READY: {
    status: 503,
    type: "server_error",
    meaning: "the model is still being loaded, or is loaded again after a failure; send the request again in a moment",
  },
  ERR_ENGINE_LOST: {
    status: 503,
    type: "server_error",
    meaning:
      "the engine ended in the middle of this request and is being restarted; send the request again in a moment",
  },
  ERR_NON_FINITE: { status: 500, type: "server_error", meaning: "the model produced NaN logits for this request" },
} as const satisfies Record<string, { status: number; type: string; meaning: string }>;

export type ErrorCode = keyof typeof errorTable;

const marker = Symbol.for("mamba-serve.error");

export interface ErrorDetails {
  /** The op, file, config key or request field at fault. */
  readonly subject?: string;
  readonly cause?: unknown;
}

/**
 * Every error this package throws on purpose. `message` names the subject, what was expected, what came and, where there
 * is one, the remedy.
 */
export class EngineError extends Error {
  readonly code: ErrorCode;
  readonly subject: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "EngineError";
    this.code = code;
    this.subject = details.subject;
    Object.defineProperty(this, marker, { value: true });
  }

  /** Works across copies of this package and across realms, where `instanceof` does not. */
  static is(error: unknown): error is EngineError {
    return typeof error === "object" && error !== null && marker in error;
  }
}
