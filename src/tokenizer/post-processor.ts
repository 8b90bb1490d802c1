import { isObject } from "../json/value";
import { stepsOf } from "./components";
import { fileError, type JsonObject } from "./tokenizer-files";

/** Ids that are put before and after every sequence. */
export interface Frame {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/**
 * What the post-processor of a tokenizer.json puts around one sequence.
 *
 * @throws EngineError ERR_TOKENIZER for what is malformed, and for tokens that the vocabulary lacks.
 */
export function frameOf(processor: unknown, idOf: (token: string) => number | undefined, path: string): Frame {
  const known = (token: unknown): number => {
    const id = typeof token === "string" ? idOf(token) : undefined;
    if (id === undefined)
      throw fileError(path, `post_processor adds ${JSON.stringify(token)}, which is not in the vocab`);
    return id;
  };
  let frame: Frame = { prefix: [], suffix: [] };
  for (const step of stepsOf("post_processor", processor)) {
    const { prefix, suffix } = stepFrame(step, known, path);
    frame = { prefix: [...prefix, ...frame.prefix], suffix: [...frame.suffix, ...suffix] };
  }
  return frame;
}

function stepFrame(step: JsonObject, known: (token: unknown) => number, path: string): Frame {
  switch (step.type) {
    case "TemplateProcessing":
      return templateFrame(step, known, path);
    case "BertProcessing":
    case "RobertaProcessing": {
      const tokenOf = (pair: unknown) => known(Array.isArray(pair) ? pair[0] : undefined);
      return { prefix: [tokenOf(step.cls)], suffix: [tokenOf(step.sep)] };
    }
    default:
      return { prefix: [], suffix: [] }; // ByteLevel changes offsets only
  }
}

function templateFrame(
  { single, special_tokens: tokens }: JsonObject,
  known: (token: unknown) => number,
  path: string,
) {
  if (!Array.isArray(single)) throw fileError(path, "post_processor: single must be a list");
  const prefix: number[] = [];
  const suffix: number[] = [];
  let seen = false;
  for (const piece of single) {
    if (!isObject(piece)) throw fileError(path, "post_processor: a piece must be an object");
    if (isObject(piece.Sequence)) {
      if (seen) throw fileError(path, "post_processor repeats the text");
      seen = true;
    } else if (isObject(piece.SpecialToken)) {
      const { id } = piece.SpecialToken;
      const entry = isObject(tokens) && typeof id === "string" && Object.hasOwn(tokens, id) ? tokens[id] : undefined;
      // An entry may stand for several tokens.
      const names = isObject(entry) && Array.isArray(entry.tokens) ? entry.tokens : [id];
      (seen ? suffix : prefix).push(...names.map(known));
    } else {
      throw fileError(path, "post_processor: a piece must be a Sequence or a SpecialToken");
    }
  }
  if (!seen) throw fileError(path, "post_processor leaves out the text");
  return { prefix, suffix };
}
