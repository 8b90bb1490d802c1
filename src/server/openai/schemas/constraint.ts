import type { z } from "zod";
import { isObject } from "../../../json/value";
import type { Constraint } from "../../../llm/types";
import { field, type Issue, optional, readJson } from "./field";
import { unsupportedCode } from "./other-fields";

const maxChoices = 1024;
const maxText = 65_536;

type Reject = (issue: Issue) => never;

export function readSchema(schema: unknown, path: readonly PropertyKey[], reject: Reject): Constraint {
  if (isObject(schema) || typeof schema === "boolean") return { kind: "json_schema", schema };
  return reject({ message: schema === undefined ? "is required" : "expected a JSON schema", path });
}

const object = { type: "object" };

/** OpenAI's; undefined for `{ type: "text" }`. */
const responseFormat = field((input, reject): Constraint | undefined => {
  if (!isObject(input)) return reject({ message: "expected an object" });
  switch (input.type) {
    case "text":
      return undefined;
    case "json_object":
      // With a schema it is llama.cpp's.
      if (input.schema === undefined || input.schema === null) return { kind: "json_object" };
      return readSchema(input.schema, ["schema"], reject);
    case "json_schema":
      if (!isObject(input.json_schema)) return reject({ message: "is required", path: ["json_schema"] });
      return readSchema(input.json_schema.schema, ["json_schema", "schema"], reject);
    default:
      return reject({ message: 'expected "text", "json_object" or "json_schema"', path: ["type"] });
  }
}, object);

const readers: Readonly<Record<string, (value: unknown, path: readonly string[], reject: Reject) => Constraint>> = {
  json(value, path, reject) {
    let schema = value;
    if (typeof value === "string") {
      schema = readJson(value, "expected a JSON schema, as an object or its text", path, reject);
    }
    return readSchema(schema, path, reject);
  },
  regex(value, path, reject) {
    if (typeof value === "string" && value.length <= maxText) return { kind: "regex", pattern: value };
    return reject({ message: `expected a string of at most ${maxText} characters`, path });
  },
  choice(value, path, reject) {
    const isText = (item: unknown) => typeof item === "string" && item !== "" && item.length <= maxText;
    if (Array.isArray(value) && value.length > 0 && value.length <= maxChoices && value.every(isText)) {
      return { kind: "choice", choices: value as string[] };
    }
    return reject({ message: `expected a list of 1 to ${maxChoices} strings, none of them empty`, path });
  },
  grammar(value, path, reject) {
    if (typeof value === "string" && value.length <= maxText) return { kind: "grammar", grammar: value };
    return reject({ message: `expected a grammar in GBNF, a string of at most ${maxText} characters`, path });
  },
  json_object(value, path, reject) {
    return value === true ? { kind: "json_object" } : reject({ message: "expected true", path });
  },
};

/** A constraint, and the field of `structured_outputs` that it came from. */
export interface NamedConstraint {
  readonly name: string;
  readonly constraint: Constraint;
}

/** vLLM's: one of `{ json, regex, choice, grammar, json_object }`. */
const structuredOutputs = field((input, reject): NamedConstraint | undefined => {
  if (!isObject(input)) return reject({ message: "expected an object" });
  const given = Object.entries(input).filter(([, value]) => value !== null && value !== undefined);
  if (given.length === 0) return undefined;
  if (given.length > 1) reject({ message: `expected one of ${Object.keys(readers).join(", ")}` });
  const [name, value] = given[0]!;
  if (!Object.hasOwn(readers, name)) return reject({ message: "not supported", path: [name], code: unsupportedCode });
  return { name, constraint: readers[name]!(value, [name], reject) };
}, object);

const alone = (reader: keyof typeof readers) => field((input, reject) => readers[reader]!(input, [], reject));

/** llama.cpp's, where no text asks for nothing. */
const grammar = field((input, reject) => (input === "" ? undefined : readers.grammar!(input, [], reject)));

/**
 * How an output can be given its form; of all but the first two, names of llama.cpp, SGLang and earlier versions of vLLM, the
 * value is the form itself. XGrammar's EBNF, which SGLang takes, is GBNF.
 */
export const constraintFields = {
  response_format: optional(responseFormat),
  structured_outputs: optional(structuredOutputs),
  json_schema: optional(alone("json")),
  regex: optional(alone("regex")),
  grammar: optional(grammar),
  ebnf: optional(alone("grammar")),
  guided_json: optional(alone("json")),
  guided_regex: optional(alone("regex")),
  guided_choice: optional(alone("choice")),
  guided_grammar: optional(alone("grammar")),
};

export type ConstraintFields = z.output<z.ZodObject<typeof constraintFields>>;

const names = Object.keys(constraintFields) as (keyof ConstraintFields)[];
const given = (fields: ConstraintFields) => names.filter((name) => fields[name] !== undefined);

/** For z.superRefine: an output can have one form. */
export function refineConstraints(fields: ConstraintFields, context: z.RefinementCtx): void {
  const [first, second] = given(fields);
  if (second === undefined) return;
  context.addIssue({ code: "custom", path: [second], message: `not allowed together with ${first}` });
}

export function toConstraint(fields: ConstraintFields): Constraint | undefined {
  const [name] = given(fields);
  if (name === undefined) return undefined;
  return name === "structured_outputs" ? fields[name]?.constraint : fields[name];
}

/** What the client calls the constraint, as "structured_outputs.choice". */
export function constraintFieldOf(fields: ConstraintFields): string | undefined {
  const [name] = given(fields);
  return name === "structured_outputs" ? `${name}.${fields[name]?.name}` : name;
}
