import type { CompileBody, Execute, Output, Signal } from "./execute";
import { compileExpression } from "./expressions";
import type { Frame, Scope } from "./frame";
import { LoopContext } from "./loop-context";
import { readsOf } from "./names";
import type { For } from "./nodes";
import { iterate, truthy } from "./operators";
import { Symbols, visitExpression, visitStatements, visitTarget } from "./symbols";
import { compileTarget } from "./targets";
import { Iter, type Value } from "./values";

export function compileFor(node: For, scope: Scope, compileBody: CompileBody): Execute {
  const extended = node.recursive || readsOf(node.body, ["loop"]).size > 0;
  const symbols = new Symbols(scope.symbols);
  if (extended) symbols.parameter("loop");
  visitTarget(symbols, node.target, true);
  visitStatements(symbols, node.body);
  const bodyScope = scope.inner(symbols, true);
  const assign = compileTarget(node.target, bodyScope);
  const body = compileBody(node.body, bodyScope);
  const loopSlot = extended ? symbols.find("loop")!.slot : -1;
  const iterable = compileExpression(node.iterable, scope);
  const filter = compileLoopTest(node, scope);

  const otherwiseSymbols = new Symbols(scope.symbols);
  visitStatements(otherwiseSymbols, node.otherwise);
  const otherwise = compileBody(node.otherwise, scope.inner(otherwiseSymbols));

  const run = (items: Value, depth0: number, frame: Frame, output: Output): Signal => {
    const source = filter === null ? items : new Iter(filter(frame, items));
    const recurse = (inner: Value, depth: number): Value => {
      const text: Output = [];
      run(inner, depth, frame, text);
      return text.join("");
    };
    const loop = extended ? new LoopContext(source, depth0, node.recursive ? recurse : null) : null;
    const iterator = loop ?? iterate(source)[Symbol.iterator]();
    let empty = true;
    for (let step = iterator.next(); step.done !== true; step = iterator.next()) {
      const inner = frame.inner();
      assign(inner, step.value);
      if (loop !== null) inner.values[loopSlot] = loop;
      inner.enter(symbols);
      // Jinja takes a loop for empty until the end of an iteration, as one that is left by break never reaches.
      const signal = body(inner, output);
      if (signal === "break") break;
      if (signal === undefined) empty = false;
    }
    return empty && node.otherwise.length > 0 ? otherwise(frame.inner().enter(otherwiseSymbols), output) : undefined;
  };
  if (!node.recursive) return (frame, output) => run(iterable(frame), 0, frame, output);
  return (frame, output) => {
    const text: Output = [];
    run(iterable(frame), 0, frame, text);
    output.push(text.join(""));
    return undefined;
  };
}

/** The items for which the loop's own condition holds; null where it has none. */
function compileLoopTest(node: For, scope: Scope): ((frame: Frame, items: Value) => Generator<Value>) | null {
  if (node.test === null) return null;
  const symbols = new Symbols(scope.symbols);
  visitTarget(symbols, node.target, true);
  visitExpression(symbols, node.test);
  const inner = scope.inner(symbols, false);
  const assign = compileTarget(node.target, inner);
  const test = compileExpression(node.test, inner);
  return function* (frame, items) {
    const within = frame.inner().enter(symbols);
    for (const item of iterate(items)) {
      assign(within, item);
      if (truthy(test(within))) yield item;
    }
  };
}
