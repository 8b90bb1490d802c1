import { stringifyJson } from "../json/stringify";
import { JsonNumber } from "../json/value";
import {
  Budget,
  defaultLimits,
  type Limits,
  MAX_DEPTH,
  MAX_SCHEMA_BYTES,
  MAX_SCHEMA_DEPTH,
  MAX_TEXT_BYTES,
  MAX_VALUES,
  refused,
} from "./budget";
import { isWellFormed } from "./code-points";
import { Completions } from "./completions";
import { TokenConstraint } from "./constraint";
import { call, character, choice, type Expression, literal, Rule } from "./expression";
import { grammarRules } from "./gbnf";
import { type SchemaRules, schemaRules } from "./json-schema";
import { JsonRules } from "./json-text";
import { findNeeds } from "./needs";
import { patternOf } from "./pattern";
import { automatonOf } from "./subsets";
import type { TokenTrie } from "./token-trie";

/** The form that generated text is held to: tokens that would leave it are not drawn. */
export type Constraint =
  /** Any JSON object. */
  | { readonly kind: "json_object" }
  /** A JSON value that the schema accepts; src/grammar/README.md says which keywords it may have. */
  | { readonly kind: "json_schema"; readonly schema: object | boolean }
  /** Matches the regular expression as a whole. */
  | { readonly kind: "regex"; readonly pattern: string }
  /** What the rule `root` stands for of a grammar in llama.cpp's notation (GBNF). */
  | { readonly kind: "grammar"; readonly grammar: string }
  /** One of these texts. */
  | { readonly kind: "choice"; readonly choices: readonly string[] };

/** Memory of a constraint besides its automata: what it keeps of frames and readings, about. */
const KEPT_BYTES = 1 << 20;

/**
 * Makes automata of a constraint, in a time that the limits bound.
 *
 * @throws EngineError ERR_REQUEST, with the kind as its subject, for what is malformed, unsupported, too large, or cannot
 * be written with the model's tokens.
 */
export function compileConstraint(
  constraint: Constraint,
  trie: TokenTrie,
  limits: Limits = defaultLimits,
): TokenConstraint {
  const { kind } = constraint;
  checkSize(constraint);
  const budget = new Budget(kind, limits);
  const { texts, reasons } = rulesOf(constraint, trie, budget);
  const machines = texts.map(([rule, expression]) => {
    const machine = automatonOf(expression, budget);
    rule.machine = machine;
    return machine;
  });
  const [root] = texts[0]!;
  const hasEnd = () => root.machine!.need(root.machine!.start) <= MAX_DEPTH;
  findNeeds(machines, trie.alphabet, budget);
  if (!hasEnd()) {
    const why = `the ${kind} stands for no text that ends and can be written with the model's tokens`;
    throw refused(kind, reasons[0] ?? why);
  }
  let completions = new Completions(trie.alphabet);
  // Where one list has too few different items, what it is within has fewer ways, and so on.
  while (machines.filter((machine) => completions.shut(machine)).length > 0) {
    findNeeds(machines, trie.alphabet, budget);
    if (!hasEnd()) throw refused(kind, `the ${kind} asks for more different items or names than there are`);
    completions = new Completions(trie.alphabet);
  }
  const bytes = machines.reduce((sum, machine) => sum + machine.bytes, KEPT_BYTES);
  return new TokenConstraint(root, trie, completions, bytes);
}

function rulesOf(constraint: Constraint, trie: TokenTrie, budget: Budget): SchemaRules {
  const root = new Rule("text");
  const only = (expression: Expression): SchemaRules => ({ texts: [[root, expression]], reasons: [] });
  const json = JsonRules.of(trie);
  switch (constraint.kind) {
    case "json_schema":
      return schemaRules(constraint.schema, trie, budget);
    case "json_object":
      return only(json.document(call(json.object)));
    case "regex":
      return only(patternOf(constraint.pattern, character, budget).expression);
    case "grammar":
      return { texts: grammarRules(constraint.grammar, budget), reasons: [] };
    case "choice":
      return only(choice(constraint.choices.map(literal)));
  }
}

/** @throws EngineError ERR_REQUEST for what is malformed or too large to look at. */
export function checkSize(constraint: Constraint): void {
  const { kind } = constraint;
  if (kind === "regex" && typeof constraint.pattern !== "string") throw refused(kind, "regex must be a string");
  if (kind === "grammar") {
    if (typeof constraint.grammar !== "string") throw refused(kind, "grammar must be a string");
    checkBytes(kind, constraint.grammar, MAX_TEXT_BYTES);
  }
  if (kind === "choice") {
    const { choices } = constraint;
    const texts = Array.isArray(choices) && choices.every((text) => typeof text === "string" && isWellFormed(text));
    if (!texts || choices.length === 0) throw refused(kind, "choice must be a list of texts that is not empty");
    if (choices.length > MAX_VALUES) {
      throw refused(kind, `choice has ${choices.length} texts; at most ${MAX_VALUES} are allowed`);
    }
    checkBytes(kind, choices.join(""), MAX_TEXT_BYTES);
  }
  if (kind === "json_schema") {
    checkJson(constraint.schema);
    checkBytes(kind, stringifyJson(constraint.schema), MAX_SCHEMA_BYTES);
  }
}

function checkBytes(kind: string, text: string, most: number): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > most) throw refused(kind, `${kind} has ${bytes} bytes; at most ${most} are allowed`);
}

/** Goes down level by level: a value of any depth and size must not exhaust the stack. */
function checkJson(schema: unknown): void {
  let level = [schema];
  let values = 0;
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_SCHEMA_DEPTH) {
      throw refused("json_schema", `json_schema is nested deeper than ${MAX_SCHEMA_DEPTH} levels`);
    }
    values += level.length;
    if (values > MAX_SCHEMA_BYTES) {
      throw refused("json_schema", `json_schema has over ${MAX_SCHEMA_BYTES} values, more than its bytes may be`);
    }
    const next: unknown[] = [];
    for (const value of level) {
      if (value instanceof JsonNumber) continue;
      if (typeof value === "object" && value !== null) for (const inner of Object.values(value)) next.push(inner);
      else if (!(["string", "boolean"].includes(typeof value) || value === null || Number.isFinite(value))) {
        throw refused("json_schema", `json_schema holds ${String(value)}, which is no JSON value`);
      }
    }
    level = next;
  }
}
