import { parseJson } from "../../json/parse";
import { entriesOf, type Json, JsonNumber } from "../../json/value";
import { globals } from "./environment";
import { Frame, Scope } from "./frame";
import { parse } from "./parser";
import { compileStatements } from "./statements";
import { Symbols, visitStatements } from "./symbols";
import { Dict, type Value } from "./values";

/**
 * A chat template, compiled: Jinja2 as `transformers` sets it up (trim_blocks, lstrip_blocks, loop controls, the
 * `generation` tag, its sandbox and its `tojson`). What is not implemented raises an error that names it.
 */
export class Template {
  private readonly symbols = new Symbols(null);
  private readonly run: ReturnType<typeof compileStatements>;
  private readonly globals: Map<string, Value>;

  /**
   * @param now What strftime_now shows.
   * @throws TemplateError of the kind "syntax" or "unsupported".
   */
  constructor(source: string, now: () => Date = () => new Date()) {
    const statements = parse(source);
    visitStatements(this.symbols, statements);
    this.run = compileStatements(statements, new Scope(this.symbols));
    this.globals = globals(now);
  }

  /**
   * @param variables The JSON text of an object.
   * @throws TemplateError
   */
  render(variables: string): string {
    const context = new Map(this.globals);
    const given = parseJson(variables, LIMITS) as { readonly [name: string]: Json };
    for (const [name, value] of entriesOf(given)) context.set(name, fromJson(value));
    const output: string[] = [];
    this.run(new Frame(null, context).enter(this.symbols), output);
    return output.join("");
  }
}

/** Whoever read the request has limits of its own; what is too deep for the stack fails there. */
const LIMITS = { depth: 1_000, containers: Number.MAX_SAFE_INTEGER, keys: Number.MAX_SAFE_INTEGER };

/** The value that Python's json.loads gives. */
function fromJson(value: Json): Value {
  if (typeof value === "number") return Number.isInteger(value) ? BigInt(value) : value;
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof JsonNumber) return value.isWhole ? BigInt(value.text) : value.value;
  if (Array.isArray(value)) return value.map(fromJson);
  return Dict.from(entriesOf(value as { readonly [key: string]: Json }).map(([key, item]) => [key, fromJson(item)]));
}
