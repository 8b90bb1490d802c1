import type { Arguments, Expression, Filter } from "./nodes";
import { TokenReader } from "./token-reader";

const comparisons = new Set(["==", "!=", ">", ">=", "<", "<="]);
const constants: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);

/** Expressions in Jinja's grammar, over a list of tokens. */
export class ExpressionParser extends TokenReader {
  /** @param condition Whether `a if b else c` may be one. */
  protected expression(condition = true): Expression {
    let then = this.or();
    while (condition && this.is("name", "if")) {
      const { line } = this.next();
      const test = this.or();
      const otherwise = this.skipIf("name", "else") ? this.expression() : null;
      then = { kind: "condition", test, then, otherwise, line };
    }
    return then;
  }

  private or(): Expression {
    let left = this.and();
    while (this.skipIf("name", "or")) left = { kind: "or", left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skipIf("name", "and")) left = { kind: "and", left, right: this.not() };
    return left;
  }

  private not(): Expression {
    return this.skipIf("name", "not") ? { kind: "not", node: this.not() } : this.compare();
  }

  private compare(): Expression {
    const first = this.sum();
    const rest: [string, Expression][] = [];
    for (;;) {
      if (this.is("operator") && comparisons.has(this.current.text)) {
        rest.push([this.next().text, this.sum()]);
      } else if (this.skipIf("name", "in")) {
        rest.push(["in", this.sum()]);
      } else if (this.is("name", "not") && this.lookAhead().text === "in" && this.lookAhead().type === "name") {
        this.next();
        this.next();
        rest.push(["not in", this.sum()]);
      } else {
        return rest.length === 0 ? first : { kind: "compare", first, rest };
      }
    }
  }

  private binary(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.is("operator") && operators.includes(this.current.text)) {
      left = { kind: "binary", operator: this.next().text, left, right: operand() };
    }
    return left;
  }

  private sum(): Expression {
    return this.binary(["+", "-"], () => this.concat());
  }

  private concat(): Expression {
    const nodes = [this.product()];
    while (this.skipIf("operator", "~")) nodes.push(this.product());
    return nodes.length === 1 ? nodes[0]! : { kind: "concat", nodes };
  }

  private product(): Expression {
    return this.binary(["*", "/", "//", "%"], () => this.binary(["**"], () => this.unary()));
  }

  private unary(filters = true): Expression {
    const signed = this.is("operator", "-") || this.is("operator", "+");
    const node: Expression = this.postfix(
      signed ? { kind: "unary", operator: this.next().text, node: this.unary(false) } : this.primary(),
    );
    return filters ? this.filtersAndTests(node) : node;
  }

  protected primary(): Expression {
    const token = this.next();
    switch (token.type) {
      case "name": {
        const constant = constants.get(token.text);
        return constant === undefined ? { kind: "name", name: token.text } : { kind: "const", value: constant };
      }
      case "string": {
        let value = token.text;
        while (this.is("string")) value += this.next().text;
        return { kind: "const", value };
      }
      case "number":
        return { kind: "const", value: token.value! };
      default:
    }
    if (token.type === "operator" && token.text === "(") {
      const node = this.tuple({ parenthesized: true });
      this.expect("operator", ")");
      return node;
    }
    if (token.type === "operator" && token.text === "[") {
      return { kind: "list", items: this.commaList("]", () => this.expression()) };
    }
    if (token.type === "operator" && token.text === "{") {
      const pairs = this.commaList("}", (): readonly [Expression, Expression] => {
        const key = this.expression();
        this.expect("operator", ":");
        return [key, this.expression()];
      });
      return { kind: "dict", pairs };
    }
    if (token.type !== "eof") this.position--;
    return this.fail(`unexpected ${this.described()}`);
  }

  /** Items up to `close`, which is read too; a comma may follow the last. */
  private commaList<T>(close: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.is("operator", close)) {
      if (items.length > 0) this.expect("operator", ",");
      if (this.is("operator", close)) break;
      items.push(item());
    }
    this.next();
    return items;
  }

  /** One expression, or a tuple of several. */
  protected tuple({ parenthesized = false, condition = true, end = "" } = {}): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expect("operator", ",");
      if (this.isTupleEnd(end)) break;
      items.push(this.expression(condition));
      if (!this.is("operator", ",")) break;
      isTuple = true;
    }
    if (!isTuple && items.length > 0) return items[0]!;
    if (!isTuple && !parenthesized) this.fail(`Expected an expression, got ${this.described()}`);
    return { kind: "tuple", items };
  }

  protected isTupleEnd(end: string): boolean {
    return (
      this.is("variable_end") ||
      this.is("block_end") ||
      this.is("operator", ")") ||
      (end !== "" && this.is("name", end))
    );
  }

  private postfix(start: Expression): Expression {
    let node = start;
    for (;;) {
      if (this.is("operator", ".")) node = this.attribute(node);
      else if (this.is("operator", "[")) node = this.subscript(node);
      else if (this.is("operator", "(")) node = { kind: "call", node, ...this.callArguments() };
      else return node;
    }
  }

  private filtersAndTests(start: Expression): Expression {
    let node = start;
    for (;;) {
      if (this.is("operator", "|")) node = this.filters(node);
      else if (this.is("name", "is")) node = this.test(node);
      else if (this.is("operator", "(")) node = { kind: "call", node, ...this.callArguments() };
      else return node;
    }
  }

  private attribute(node: Expression): Expression {
    this.next();
    if (this.is("name")) return { kind: "attribute", node, name: this.next().text };
    const value = this.current.value;
    if (typeof value !== "bigint") this.fail("expected name or number");
    this.next();
    return { kind: "item", node, index: { kind: "const", value } };
  }

  private subscript(node: Expression): Expression {
    this.next();
    const items: Expression[] = [];
    while (!this.is("operator", "]")) {
      if (items.length > 0) this.expect("operator", ",");
      items.push(this.subscripted());
    }
    this.next();
    const index: Expression = items.length === 1 ? items[0]! : { kind: "tuple", items };
    return { kind: "item", node, index };
  }

  private subscripted(): Expression {
    const bound = () =>
      this.is("operator", ":") || this.is("operator", "]") || this.is("operator", ",") ? null : this.expression();
    const start = this.is("operator", ":") ? null : this.expression();
    if (!this.skipIf("operator", ":")) return start!;
    const stop = bound();
    const step = this.skipIf("operator", ":") ? bound() : null;
    return { kind: "slice", bounds: [start, stop, step] };
  }

  protected callArguments(): Arguments {
    const { line } = this.expect("operator", "(");
    const args: Expression[] = [];
    const kwargs: [string, Expression][] = [];
    let dynArgs: Expression | null = null;
    let dynKwargs: Expression | null = null;
    const ensure = (right: boolean) => right || this.fail("invalid syntax for function call expression", line);
    for (let first = true; !this.is("operator", ")"); first = false) {
      if (!first) {
        this.expect("operator", ",");
        if (this.is("operator", ")")) break;
      }
      if (this.skipIf("operator", "*")) {
        ensure(dynArgs === null && dynKwargs === null);
        dynArgs = this.expression();
      } else if (this.skipIf("operator", "**")) {
        ensure(dynKwargs === null);
        dynKwargs = this.expression();
      } else if (this.is("name") && this.lookAhead().type === "operator" && this.lookAhead().text === "=") {
        ensure(dynKwargs === null);
        const key = this.next().text;
        this.next();
        kwargs.push([key, this.expression()]);
      } else {
        ensure(dynArgs === null && dynKwargs === null && kwargs.length === 0);
        args.push(this.expression());
      }
    }
    this.next();
    return { args, kwargs, dynArgs, dynKwargs };
  }

  /** `node` with the filters that follow; the first of a block stands without a bar. */
  protected filters<T extends Expression | null>(start: T, inline = false): T | Filter {
    let node: T | Filter = start;
    for (let first = inline; first || this.is("operator", "|"); first = false) {
      if (!first) this.next();
      const { line } = this.current;
      const name = this.dottedName();
      const list = this.is("operator", "(") ? this.callArguments() : NO_ARGUMENTS;
      node = { kind: "filter", node, name, line, ...list };
    }
    return node;
  }

  private test(node: Expression): Expression {
    const { line } = this.next();
    const negated = this.skipIf("name", "not");
    const name = this.dottedName();
    let list: Arguments = NO_ARGUMENTS;
    if (this.is("operator", "(")) {
      list = this.callArguments();
    } else if (this.beginsTestArgument()) {
      if (this.is("name", "is")) this.fail("You cannot chain multiple tests with is");
      list = { ...NO_ARGUMENTS, args: [this.postfix(this.primary())] };
    }
    const test: Expression = { kind: "test", node, name, line, ...list };
    return negated ? { kind: "not", node: test } : test;
  }

  private beginsTestArgument(): boolean {
    const { type, text } = this.current;
    if (type === "name") return !["else", "or", "and"].includes(text);
    return type === "string" || type === "number" || (type === "operator" && (text === "[" || text === "{"));
  }

  private dottedName(): string {
    let name = this.expect("name").text;
    while (this.skipIf("operator", ".")) name += `.${this.expect("name").text}`;
    return name;
  }
}

export const NO_ARGUMENTS: Arguments = { args: [], kwargs: [], dynArgs: null, dynKwargs: null };
