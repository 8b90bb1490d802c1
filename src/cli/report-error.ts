import { EngineError, type ErrorCode } from "../errors";
import { parseHubModel } from "../hub/cache";
import { BUNDLED_MODEL } from "../llm/bundled-model";
import { suggestModel } from "./suggest-model";

/** What to do about an error, where its message does not say so in terms of this program. */
const hints: Partial<Record<ErrorCode, (error: EngineError) => string | undefined>> = {
  ERR_MODEL_NOT_FOUND: ({ subject = "" }) => {
    if (parseHubModel(subject) !== null) return `\`mamba-serve pull ${subject}\` downloads a model of that name`;
    const similar = suggestModel(subject);
    return similar === undefined
      ? `MODEL is a directory, a file in GGUF, or org/name of a model on the Hugging Face hub; without it the bundled ${BUNDLED_MODEL} is used`
      : `did you mean ${similar}?`;
  },
  ERR_DOWNLOAD: ({ subject = "" }) => {
    // A file that broke off is named by its path in the model. Where the model is named, nothing has come.
    if (parseHubModel(subject) === null) return "what has come is kept; the same command goes on from there";
    const similar = suggestModel(subject);
    return similar === undefined ? undefined : `did you mean ${similar}?`;
  },
  ERR_NOT_BUILT: () => "`mamba-serve doctor` shows what this build has",
  ERR_NO_DEVICE: () => "--device auto takes the CPU where no GPU can be used; `mamba-serve doctor` says why",
  ERR_MEMORY: () => "fewer sequences take less memory: lower --max-num-seqs",
  ERR_TOO_LONG: ({ message }) =>
    message.includes("maxTokens")
      ? "shorten the text, lower --max-tokens, or raise --max-model-len"
      : "shorten the text, or raise --max-model-len",
};

/** An error as the user reads it on stderr, with a newline at the end: a message, or a stack where it is our mistake. */
export function describeError(error: unknown): string {
  if (EngineError.is(error)) {
    const hint = hints[error.code]?.(error);
    return `error: ${error.message} (${error.code})\n${hint === undefined ? "" : `hint: ${hint}\n`}`;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `error: unexpected: ${stack}\n\nThis is a bug. Please report it with the output of \`mamba-serve doctor\`.\n`;
}

/** sysexits.h's EX_SOFTWARE where the engine's process was given up, for whoever supervises this one; else 1. */
export function exitCodeOf(error: unknown): number {
  return EngineError.is(error) && error.code === "ERR_ENGINE_LOST" ? 70 : 1;
}
