import { attribute, call, item, Slice } from "./attributes";
import { environment, hasFilter, hasTest } from "./environment";
import type { Frame, Scope } from "./frame";
import { syntaxError } from "./lexer";
import { eachName } from "./names";
import type { Arguments, Call, Expression, Filter, Test } from "./nodes";
import { binary, test as compareBy, iterate, truthy, unary } from "./operators";
import { repr, str } from "./text";
import { Dict, type Kwargs, NO_KWARGS, runtimeError, stringOf, Tuple, Undefined, type Value } from "./values";

export type Evaluate = (frame: Frame) => Value;

const NO_ARGS: readonly Value[] = [];

/** Turns an expression into a function of the frame it is evaluated in. */
export function compileExpression(node: Expression, scope: Scope): Evaluate {
  const compile = (child: Expression) => compileExpression(child, scope);
  switch (node.kind) {
    case "const":
      return () => node.value;
    case "name":
      return compileName(node.name, scope);
    case "tuple": {
      const items = node.items.map(compile);
      return (frame) => new Tuple(items.map((evaluate) => evaluate(frame)));
    }
    case "list": {
      const items = node.items.map(compile);
      return (frame) => items.map((evaluate) => evaluate(frame));
    }
    case "dict": {
      const pairs = node.pairs.map(([key, value]) => [compile(key), compile(value)] as const);
      return (frame) => Dict.from(pairs.map(([key, value]) => [key(frame), value(frame)] as const));
    }
    case "attribute": {
      const value = compile(node.node);
      const { name } = node;
      return (frame) => attribute(value(frame), name);
    }
    case "item":
      return compileItem(node.node, node.index, scope);
    case "slice":
      throw runtimeError("a slice stands only alone within brackets"); // Python has no sequence that takes several
    case "call":
      return compileCall(node, scope, null);
    case "filter":
      return compileFilter(node, scope, null);
    case "test":
      return compileTest(node, scope);
    case "binary": {
      const { left: base } = node;
      if (node.operator === "**" && base.kind === "unary" && base.node.kind === "const" && !isConstant(node.right)) {
        // Jinja writes such a constant into Python's source, where the power binds before the sign.
        return compile({ ...base, node: { ...node, left: base.node } });
      }
      const [left, right] = [compile(base), compile(node.right)];
      const { operator } = node;
      return (frame) => binary(operator, left(frame), right(frame));
    }
    case "unary": {
      const value = compile(node.node);
      const { operator } = node;
      return (frame) => unary(operator, value(frame));
    }
    case "and":
    case "or": {
      const [left, right] = [compile(node.left), compile(node.right)];
      const stops = node.kind === "or";
      return (frame) => {
        const value = left(frame);
        return truthy(value) === stops ? value : right(frame);
      };
    }
    case "not": {
      const value = compile(node.node);
      return (frame) => !truthy(value(frame));
    }
    case "concat": {
      const nodes = node.nodes.map(compile);
      return (frame) => nodes.map((evaluate) => str(evaluate(frame))).join("");
    }
    case "compare":
      return compileCompare(
        compile(node.first),
        node.rest.map(([operator, child]) => [operator, compile(child)]),
      );
    case "condition": {
      const soft = scope.soft();
      const test = compileExpression(node.test, soft);
      const then = compileExpression(node.then, soft);
      const otherwise = node.otherwise === null ? null : compileExpression(node.otherwise, soft);
      const message = `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`;
      return (frame) => {
        if (truthy(test(frame))) return then(frame);
        return otherwise === null ? new Undefined(message) : otherwise(frame);
      };
    }
  }
}

export function compileName(name: string, scope: Scope): Evaluate {
  const found = scope.symbols.find(name);
  if (found === null) throw runtimeError(`the name '${name}' cannot be resolved here`);
  const { hops, slot } = found;
  return (frame) => {
    const value = frame.outer(hops).values[slot];
    return value === undefined ? Undefined.named(name) : value;
  };
}

function isConstant(node: Expression): boolean {
  let constant = true;
  eachName(node, () => {
    constant = false;
  });
  return constant;
}

function compileItem(node: Expression, index: Expression, scope: Scope): Evaluate {
  const value = compileExpression(node, scope);
  if (index.kind === "slice") {
    const bounds = index.bounds.map((bound) => (bound === null ? null : compileExpression(bound, scope)));
    return (frame) => item(value(frame), new Slice(bounds.map((bound) => (bound === null ? null : bound(frame)))));
  }
  const key = compileExpression(index, scope);
  return (frame) => item(value(frame), key(frame));
}

function compileCompare(first: Evaluate, rest: readonly (readonly [string, Evaluate])[]): Evaluate {
  return (frame) => {
    let left = first(frame);
    for (const [operator, operand] of rest) {
      const right = operand(frame);
      if (!compareBy(operator, left, right)) return false;
      left = right;
    }
    return true;
  };
}

interface EvaluatedArguments {
  readonly args: readonly Value[];
  readonly kwargs: Kwargs;
}

function compileArguments({ args, kwargs, dynArgs, dynKwargs }: Arguments, scope: Scope) {
  const compile = (child: Expression) => compileExpression(child, scope);
  const positional = args.map(compile);
  const named = kwargs.map(([key, value]) => [key, compile(value)] as const);
  const more = dynArgs === null ? null : compile(dynArgs);
  const moreNamed = dynKwargs === null ? null : compile(dynKwargs);
  const plain = more === null && moreNamed === null && named.length === 0;
  if (plain && positional.length === 0) return (): EvaluatedArguments => ({ args: NO_ARGS, kwargs: NO_KWARGS });
  if (plain) {
    return (frame: Frame): EvaluatedArguments => ({
      args: positional.map((evaluate) => evaluate(frame)),
      kwargs: NO_KWARGS,
    });
  }
  return (frame: Frame): EvaluatedArguments => {
    const values = positional.map((evaluate) => evaluate(frame));
    const map = new Map<string, Value>();
    const add = (key: string, value: Value) => {
      if (map.has(key)) throw runtimeError(`got multiple values for keyword argument '${key}'`);
      map.set(key, value);
    };
    for (const [key, evaluate] of named) add(key, evaluate(frame));
    if (more !== null) values.push(...iterate(more(frame)));
    if (moreNamed !== null) {
      const dict = moreNamed(frame);
      if (!(dict instanceof Dict)) throw runtimeError("argument after ** must be a mapping");
      for (const [key, value] of dict.entries()) {
        const name = stringOf(key);
        if (name === undefined) throw runtimeError(`keywords must be strings, not ${repr(key)}`);
        add(name, value);
      }
    }
    return { args: values, kwargs: map };
  };
}

/** @param caller Gives the macro that a call block passes; null outside of one. */
export function compileCall(node: Call, scope: Scope, caller: ((frame: Frame) => Value) | null): Evaluate {
  const value = compileExpression(node.node, scope);
  const evaluateArguments = compileArguments(node, scope);
  return (frame) => {
    const target = value(frame);
    const { args, kwargs } = evaluateArguments(frame);
    return call(target, args, caller === null ? kwargs : new Map([...kwargs, ["caller", caller(frame)]]));
  };
}

/** @param input What the filter is applied to where its node says nothing: the text of a block. */
export function compileFilter(node: Filter, scope: Scope, input: Evaluate | null): Evaluate {
  // As in Jinja, an unknown name is an error at once, except within a condition that may test for it.
  if (!scope.isSoft && !hasFilter(node.name)) throw syntaxError(`No filter named '${node.name}'.`, node.line);
  const inner = node.node;
  const value =
    inner === null
      ? input!
      : inner.kind === "filter"
        ? compileFilter(inner, scope, input)
        : compileExpression(inner, scope);
  const evaluateArguments = compileArguments(node, scope);
  const { name } = node;
  return (frame) => {
    const target = value(frame);
    const { args, kwargs } = evaluateArguments(frame);
    return environment.filter(name, target, args, kwargs);
  };
}

function compileTest(node: Test, scope: Scope): Evaluate {
  if (!scope.isSoft && !hasTest(node.name)) throw syntaxError(`No test named '${node.name}'.`, node.line);
  const value = compileExpression(node.node, scope);
  const evaluateArguments = compileArguments(node, scope);
  const { name } = node;
  return (frame) => {
    const target = value(frame);
    const { args, kwargs } = evaluateArguments(frame);
    return environment.test(name, target, args, kwargs);
  };
}
