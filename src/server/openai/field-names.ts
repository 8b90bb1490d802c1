import { EngineError } from "../../errors";

/** What the client calls a field that the engine found at fault. */
export interface FieldNames {
  /** As "response_format", or "structured_outputs.choice". */
  readonly constraint?: string;
  /** For a list of calls: the tools, in the order of the schema that calls are held to. */
  readonly tools?: boolean;
  /** As "max_completion_tokens". */
  readonly maxTokens?: string;
}

/** Where the schema of a list of calls has the arguments of one of the tools. */
const argumentsAt = /#\/items\/anyOf\/(\d+)\/properties\/arguments/;

/** The same error under the names that the client used, in its message too. */
export function inClientsNames(error: unknown, names: FieldNames): unknown {
  if (!EngineError.is(error)) return error;
  const { code, message, subject } = error;
  const renamed = (text: string, field?: string) =>
    new EngineError(code, text, { ...(field === undefined ? {} : { subject: field }), cause: error });
  if (subject === "constraint") {
    const tool = names.tools ? argumentsAt.exec(message) : null;
    if (tool !== null) return renamed(message.replace(tool[0], "#"), `tools[${tool[1]}].function.parameters`);
    return names.constraint === undefined ? error : renamed(message, names.constraint);
  }
  const maxTokens = names.maxTokens ?? "max_tokens";
  const text = message
    .replaceAll("maxTokens", maxTokens)
    .replace(/\b(?:minTokens|logitBias|promptLogprobs|allowedTokenIds|badWords)\b/g, toSnakeCase);
  if (subject === "maxTokens") return renamed(text, maxTokens);
  return text === message ? error : renamed(text, subject);
}

const toSnakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
