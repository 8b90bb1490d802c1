import type { Execute } from "./execute";
import { compileExpression, compileFilter, compileName } from "./expressions";
import type { Frame, Scope } from "./frame";
import { syntaxError } from "./lexer";
import { compileFor } from "./loop";
import { compileBlockCall, compileMacro } from "./macro";
import type { Expression, Filter, If, Statement, Target } from "./nodes";
import { truthy } from "./operators";
import { Symbols, visitExpression, visitStatements, visitTarget } from "./symbols";
import { compileTarget } from "./targets";
import { str } from "./text";
import type { Value } from "./values";

export function compileStatements(statements: readonly Statement[], scope: Scope): Execute {
  const steps = statements.map((statement) => compileStatement(statement, scope));
  if (steps.length === 1) return steps[0]!;
  return (frame, output) => {
    for (const step of steps) {
      const signal = step(frame, output);
      if (signal !== undefined) return signal;
    }
    return undefined;
  };
}

function compileStatement(node: Statement, scope: Scope): Execute {
  switch (node.kind) {
    case "output":
      return compileOutput(node.parts, scope);
    case "for":
      return compileFor(node, scope, compileStatements);
    case "if":
      return compileIf(node, scope);
    case "macro": {
      const macro = compileMacro(node.name, node.signature, node.body, scope, compileStatements);
      const assign = compileTarget({ kind: "name", name: node.name }, scope);
      return (frame) => assign(frame, macro(frame));
    }
    case "call_block": {
      const value = compileBlockCall(node, scope, compileStatements);
      return (frame, output) => {
        output.push(str(value(frame)));
        return undefined;
      };
    }
    case "filter_block": {
      const [block, value] = compileBlock(node.body, node.filter, scope, true);
      return capture(block, value, (text, _frame, output) => output.push(str(text)));
    }
    case "with":
      return compileWith(node.targets, node.values, node.body, scope);
    case "assign": {
      const value = compileExpression(node.value, scope);
      const assign = compileTarget(node.target, scope);
      return (frame) => assign(frame, value(frame));
    }
    case "assign_block": {
      const [block, value] = compileBlock(node.body, node.filter, scope, false);
      const assign = compileTarget(node.target, scope);
      return capture(block, value, (text, frame) => assign(frame, text));
    }
    case "break":
    case "continue":
      if (!scope.inLoop) throw syntaxError(`'${node.kind}' outside loop`, node.line);
      return () => node.kind;
  }
}

function compileOutput(parts: readonly (string | Expression)[], scope: Scope): Execute {
  const writers = parts.map((part) => (typeof part === "string" ? part : compileExpression(part, scope)));
  return (frame, output) => {
    for (const writer of writers) output.push(typeof writer === "string" ? writer : str(writer(frame)));
    return undefined;
  };
}

function compileIf({ branches, otherwise }: If, scope: Scope): Execute {
  const soft = scope.soft();
  const compiled = branches.map(({ test, body }) => ({
    test: compileExpression(test, soft),
    body: compileStatements(body, soft),
  }));
  const last = compileStatements(otherwise, soft);
  return (frame, output) => {
    for (const { test, body } of compiled) if (truthy(test(frame))) return body(frame, output);
    return last(frame, output);
  };
}

function compileWith(
  targets: readonly Target[],
  values: readonly Expression[],
  body: readonly Statement[],
  scope: Scope,
): Execute {
  const symbols = new Symbols(scope.symbols);
  for (const target of targets) visitTarget(symbols, target, true);
  visitStatements(symbols, body);
  const inner = scope.inner(symbols);
  const evaluated = values.map((value) => compileExpression(value, scope));
  const assigns = targets.map((target) => compileTarget(target, inner));
  const run = compileStatements(body, inner);
  return (frame, output) => {
    const within = frame.inner().enter(symbols);
    for (const [index, assign] of assigns.entries()) assign(within, evaluated[index]!(frame));
    return run(within, output);
  };
}

/** The variable that holds a block's text for its filter; no template can name it. */
const BLOCK_TEXT = "the block's text";

interface Block {
  readonly symbols: Symbols;
  readonly slot: number;
  readonly body: Execute;
}

/** A block whose text is taken, and what its filter makes of that. */
function compileBlock(
  body: readonly Statement[],
  filter: Filter | null,
  scope: Scope,
  visitFilter: boolean,
): [Block, (frame: Frame) => Value] {
  const symbols = new Symbols(scope.symbols);
  symbols.parameter(BLOCK_TEXT);
  visitStatements(symbols, body);
  if (filter !== null && visitFilter) visitExpression(symbols, filter);
  const inner = scope.inner(symbols);
  const text = compileName(BLOCK_TEXT, inner);
  const value = filter === null ? text : compileFilter(filter, inner, text);
  return [{ symbols, slot: symbols.find(BLOCK_TEXT)!.slot, body: compileStatements(body, inner) }, value];
}

function capture(
  { symbols, slot, body }: Block,
  value: (frame: Frame) => Value,
  use: (text: Value, frame: Frame, output: string[]) => unknown,
): Execute {
  return (frame, output) => {
    const within = frame.inner().enter(symbols);
    const text: string[] = [];
    const signal = body(within, text);
    if (signal !== undefined) return signal;
    within.values[slot] = text.join("");
    use(value(within), frame, output);
    return undefined;
  };
}
