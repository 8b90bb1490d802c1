import { EngineError } from "../../errors";
import type { ToolPlan } from "./tools/plan";

/** What the client calls a field that the engine found at fault. */
export interface FieldNames {
  /** As "response_format", or "structured_outputs.choice". */
  readonly constraint?: string;
  /** For a list of calls: where the parameters of a tool are, by its place in the schema that calls are held to. */
  readonly parametersOf?: ToolPlan["parametersOf"];
  /** What the prompt is made of, as "input". */
  readonly prompt?: string;
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
    const tool = names.parametersOf && argumentsAt.exec(message);
    if (tool) return renamed(message.replace(tool[0], "#"), names.parametersOf(Number(tool[1])));
    return names.constraint === undefined ? error : renamed(message, names.constraint);
  }
  const maxTokens = names.maxTokens ?? "max_tokens";
  const text = message
    .replaceAll("maxTokens", maxTokens)
    .replace(/\b(?:minTokens|logitBias|promptLogprobs|allowedTokenIds|badWords)\b/g, toSnakeCase);
  if (subject === "maxTokens") return renamed(text, maxTokens);
  const isPrompt = subject === "messages" || subject === "prompt";
  const field = isPrompt ? (names.prompt ?? subject) : subject;
  return text === message && field === subject ? error : renamed(text, field);
}

const toSnakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
