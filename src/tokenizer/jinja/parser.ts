import { ExpressionParser } from "./expression-parser";
import { tokenize } from "./lexer";
import type { Call, Expression, Filter, Macro, Signature, Statement, Target } from "./nodes";
import { unsupported } from "./values";

/** Jinja's tags that read other templates or need settings that transformers does not have. */
const unsupportedTags = new Set(["block", "extends", "include", "import", "from", "autoescape"]);

/** @throws TemplateError with the line. */
export function parse(template: string): Statement[] {
  return new Parser(tokenize(template)).template();
}

class Parser extends ExpressionParser {
  /** The tags that the open blocks wait for, the innermost last. */
  private readonly open: string[][] = [];

  template(): Statement[] {
    return this.statements();
  }

  private statements(): Statement[] {
    const body: Statement[] = [];
    let parts: (string | Expression)[] = [];
    const flush = () => {
      if (parts.length > 0) body.push({ kind: "output", parts });
      parts = [];
    };
    while (!this.is("eof")) {
      if (this.is("data")) {
        parts.push(this.next().text);
      } else if (this.skipIf("variable_begin")) {
        parts.push(this.tuple());
        this.expect("variable_end");
      } else {
        flush();
        this.expect("block_begin");
        if (this.is("name") && this.open.at(-1)?.includes(this.current.text)) return body;
        body.push(this.statement());
        this.expect("block_end");
      }
    }
    flush();
    if (this.open.length > 0) this.fail(`Unexpected end of template, looking for ${this.open.at(-1)!.join(" or ")}`);
    return body;
  }

  /** The statements up to one of the tags, which is read and given too. */
  private block(...ends: string[]): [Statement[], string] {
    this.skipIf("operator", ":");
    this.expect("block_end");
    this.open.push(ends);
    const body = this.statements();
    this.open.pop();
    return [body, this.next().text];
  }

  private body(end: string): Statement[] {
    return this.block(end)[0];
  }

  private statement(): Statement {
    const { text, line } = this.expect("name");
    switch (text) {
      case "for":
        return this.forLoop();
      case "if":
        return this.ifElse();
      case "set":
        return this.set();
      case "with":
        return this.withBlock();
      case "macro":
        return this.macro();
      case "call":
        return this.callBlock();
      case "filter": {
        const filter = this.filters(null, true) as Filter;
        return { kind: "filter_block", filter, body: this.body("endfilter") };
      }
      case "generation":
        return { kind: "call_block", call: null, signature: NO_PARAMETERS, body: this.body("endgeneration") };
      case "print":
        return this.print();
      case "break":
      case "continue":
        return { kind: text, line };
      default:
        if (unsupportedTags.has(text)) throw unsupported(`line ${line}: the tag "${text}"`);
        return this.fail(`Encountered unknown tag '${text}'`, line);
    }
  }

  private print(): Statement {
    const parts: Expression[] = [];
    while (!this.is("block_end")) {
      if (parts.length > 0) this.expect("operator", ",");
      parts.push(this.expression());
    }
    return { kind: "output", parts };
  }

  private forLoop(): Statement {
    const target = this.target("in");
    this.expect("name", "in");
    const iterable = this.tuple({ condition: false, end: "recursive" });
    const test = this.skipIf("name", "if") ? this.expression() : null;
    const recursive = this.skipIf("name", "recursive");
    const [body, end] = this.block("endfor", "else");
    const otherwise = end === "else" ? this.body("endfor") : [];
    if (names(target).includes("loop")) this.fail("Can't assign to special loop variable in for-loop target");
    return { kind: "for", target, iterable, test, recursive, body, otherwise };
  }

  private ifElse(): Statement {
    const branches: { test: Expression; body: Statement[] }[] = [];
    for (;;) {
      const test = this.tuple({ condition: false });
      const [body, end] = this.block("elif", "else", "endif");
      branches.push({ test, body });
      if (end === "elif") continue;
      return { kind: "if", branches, otherwise: end === "else" ? this.body("endif") : [] };
    }
  }

  private set(): Statement {
    const target = this.target("", true);
    if (this.skipIf("operator", "=")) return { kind: "assign", target, value: this.tuple() };
    const filter = this.filters(null) as Filter | null;
    return { kind: "assign_block", target, filter, body: this.body("endset") };
  }

  private withBlock(): Statement {
    const targets: Target[] = [];
    const values: Expression[] = [];
    while (!this.is("block_end")) {
      if (targets.length > 0) this.expect("operator", ",");
      targets.push(this.target(""));
      this.expect("operator", "=");
      values.push(this.expression());
    }
    return { kind: "with", targets, values, body: this.body("endwith") };
  }

  private macro(): Macro {
    const name = this.name();
    return { kind: "macro", name, signature: this.signature(), body: this.body("endmacro") };
  }

  private callBlock(): Statement {
    const signature = this.is("operator", "(") ? this.signature() : NO_PARAMETERS;
    const { line } = this.current;
    const call = this.expression();
    if (call.kind !== "call") this.fail("expected call", line);
    return { kind: "call_block", call: call as Call, signature, body: this.body("endcall") };
  }

  private signature(): Signature {
    this.expect("operator", "(");
    const names: string[] = [];
    const defaults: Expression[] = [];
    while (!this.is("operator", ")")) {
      if (names.length > 0) this.expect("operator", ",");
      names.push(this.name());
      if (this.skipIf("operator", "=")) defaults.push(this.expression());
      else if (defaults.length > 0) this.fail("non-default argument follows default argument");
    }
    this.next();
    return { names, defaults };
  }

  /** A name that may be assigned to. */
  private name(): string {
    const { text, line } = this.expect("name");
    if (reserved.has(text)) this.fail(`can't assign to '${text}'`, line);
    return text;
  }

  /** @param namespaces Whether an attribute of a namespace may be assigned to. */
  private target(end: string, namespaces = false): Target {
    const items: Target[] = [];
    let isTuple = false;
    const { line } = this.current;
    for (;;) {
      if (items.length > 0) this.expect("operator", ",");
      if (this.isTupleEnd(end)) break;
      items.push(this.targetItem(namespaces));
      if (!this.is("operator", ",")) break;
      isTuple = true;
    }
    if (!isTuple && items.length === 1) return items[0]!;
    if (items.length === 0 && !isTuple) this.fail("Expected an expression", line);
    return { kind: "tuple", items };
  }

  private targetItem(namespaces: boolean): Target {
    const { line } = this.current;
    if (this.skipIf("operator", "(")) {
      const inner = this.target("", namespaces);
      this.expect("operator", ")");
      return inner;
    }
    if (!this.is("name")) this.fail(`can't assign to ${this.described()}`, line);
    const name = this.name();
    if (!namespaces || !this.skipIf("operator", ".")) return { kind: "name", name };
    return { kind: "namespace", name, attribute: this.expect("name").text };
  }
}

const reserved = new Set(["true", "false", "none", "True", "False", "None"]);
const NO_PARAMETERS: Signature = { names: [], defaults: [] };

/** The plain names of a target. */
export function names(target: Target): string[] {
  if (target.kind === "name") return [target.name];
  return target.kind === "tuple" ? target.items.flatMap(names) : [];
}
