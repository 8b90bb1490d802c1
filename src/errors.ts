/**
 * The one table of errors. `status` and `type` are what the HTTP server answers with (OpenAI's error shape). The rows up to
 * ERR_INTERNAL mirror MAMBA_ERROR_CODES in native/core/error.h; a test compares the two.
 */
export const errorTable = {
  ERR_SHAPE: {
    status: 500,
    type: "server_error",
    meaning: "a tensor has another shape than the op takes",
    remedy: "report it: a caller inside this package is wrong, unless you call ops yourself",
  },
  ERR_DTYPE: {
    status: 500,
    type: "server_error",
    meaning: "a tensor has another element type than the op takes",
    remedy: "report it: a caller inside this package is wrong, unless you call ops yourself",
  },
  ERR_DEVICE: {
    status: 500,
    type: "server_error",
    meaning: "a tensor lives on another device than the stream",
    remedy: "report it: a caller inside this package is wrong, unless you call ops yourself",
  },
  ERR_DISPOSED: {
    status: 500,
    type: "server_error",
    meaning: "a handle was used after it was freed",
    remedy: "do not use a model or a device after close(); else report it",
  },
  ERR_ARGUMENT: {
    status: 500,
    type: "server_error",
    meaning: "an argument of a native call is out of range",
    remedy: "the message names the argument and its range",
  },
  ERR_NOT_BUILT: {
    status: 500,
    type: "server_error",
    meaning: "the addon, or a backend of it, is not built",
    remedy: "install a prebuilt package or run mamba-serve build; mamba-serve doctor says what was looked for",
  },
  ERR_NO_DEVICE: {
    status: 500,
    type: "server_error",
    meaning: "the machine lacks the device, its driver or a library",
    remedy: "mamba-serve doctor says what is missing; --device cpu runs without a GPU",
  },
  ERR_ARENA_FULL: {
    status: 500,
    type: "server_error",
    meaning: "a step needs more temporary memory than was planned",
    remedy: "report it with the command; a lower --max-num-batched-tokens may avoid it",
  },
  ERR_CAPTURE: {
    status: 500,
    type: "server_error",
    meaning: "not allowed while a graph is captured",
    remedy: "report it; --no-overlap or another batch size may avoid it",
  },
  ERR_MEMORY: {
    status: 500,
    type: "server_error",
    meaning: "out of memory",
    remedy: "lower --max-num-seqs, --max-model-len or --gpu-memory-utilization, or take a smaller or a quantized model",
  },
  ERR_DEVICE_LOST: {
    status: 503,
    type: "server_error",
    meaning: "the device failed and cannot be used any more",
    remedy: "serve starts the engine again by itself; if it recurs, look at the driver's log",
  },
  ERR_IO: {
    status: 500,
    type: "server_error",
    meaning: "a file could not be opened or read",
    remedy: "the message has the path, or the address, and the system's reason",
  },
  ERR_INTERNAL: {
    status: 500,
    type: "server_error",
    meaning: "a fault of this package; please report it",
    remedy: "report it, with the output of mamba-serve doctor",
  },

  ERR_MODEL_NOT_FOUND: {
    status: 404,
    type: "invalid_request_error",
    meaning: "no model of that name or path",
    remedy: "check the path or the name; mamba-serve pull org/name downloads one",
  },
  ERR_DOWNLOAD: {
    status: 500,
    type: "server_error",
    meaning: "a model could not be downloaded, or a file of it is not what the hub says",
    remedy: "run it again: what has come is kept; HF_TOKEN is needed for models that ask for consent",
  },
  ERR_MODEL_UNSUPPORTED: {
    status: 500,
    type: "server_error",
    meaning: "no implementation for this model_type or option",
    remedy: "docs/models.md lists what runs",
  },
  ERR_CONFIG: {
    status: 500,
    type: "server_error",
    meaning: "config.json, or what a file in GGUF has in its place, is missing, malformed or inconsistent",
    remedy: "the message names the file and the key; download the file again, or correct it",
  },
  ERR_WEIGHTS: {
    status: 500,
    type: "server_error",
    meaning: "a weight file is missing, cut off, malformed or of the wrong shape",
    remedy: "the message names the file and the tensor; download it again",
  },
  ERR_TOKENIZER: {
    status: 500,
    type: "server_error",
    meaning: "tokenizer files are missing or malformed",
    remedy: "the message names the file; download it again",
  },
  ERR_CHAT_TEMPLATE: {
    status: 400,
    type: "invalid_request_error",
    meaning: "the chat template refuses these messages or arguments",
    remedy: "send messages that the model's template takes, as it says in the message",
  },
  ERR_BROKEN_TEMPLATE: {
    status: 500,
    type: "server_error",
    meaning:
      "the model's chat template is malformed, uses what is not supported, or fails; the request is not at fault",
    remedy: "replace the model's chat_template by one that works",
  },
  ERR_REQUEST: {
    status: 400,
    type: "invalid_request_error",
    meaning: "a request field is missing or out of range",
    remedy: "the message names the field, what is expected and what came; docs/fields.md lists them",
  },
  ERR_TOO_LONG: {
    status: 400,
    type: "invalid_request_error",
    meaning: "prompt and output do not fit the context",
    remedy: "shorten the prompt, lower max_tokens, or raise --max-model-len",
  },
  ERR_OVERLOADED: {
    status: 429,
    type: "rate_limit_error",
    meaning: "the queue is full; try again later",
    remedy: "wait for Retry-After and try again; --max-queue bounds what waits",
  },
  ERR_ABORTED: {
    status: 499,
    type: "invalid_request_error",
    meaning: "the caller aborted the request",
    remedy: "nothing: somebody wanted it",
  },
  ERR_CLOSED: {
    status: 503,
    type: "server_error",
    meaning: "the engine is closed or closing",
    remedy: "ask another server, or start it again",
  },
  ERR_NOT_READY: {
    status: 503,
    type: "server_error",
    meaning: "the model is still being loaded, or is loaded again after a failure; send the request again in a moment",
    remedy: "wait for Retry-After and try again; GET /ready answers 200 then",
  },
  ERR_ENGINE_LOST: {
    status: 503,
    type: "server_error",
    meaning:
      "the engine ended in the middle of this request and is being restarted; send the request again in a moment",
    remedy: "try again; the server's log has the reason",
  },
  ERR_NON_FINITE: {
    status: 500,
    type: "server_error",
    meaning: "the model produced NaN logits for this request",
    remedy: "check the weights (mamba-serve eval perplexity), or take --dtype float32",
  },
} as const satisfies Record<string, { status: number; type: string; meaning: string; remedy: string }>;

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
