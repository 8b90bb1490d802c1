import type { Arguments, Expression, Macro, Statement, Target } from "./nodes";

/** Calls `found` for each name that the expression reads, in their order. */
export function eachName(node: Expression, found: (name: string) => void): void {
  const visit = (child: Expression | null) => child !== null && eachName(child, found);
  const visitArguments = ({ args, kwargs, dynArgs, dynKwargs }: Arguments) => {
    args.forEach(visit);
    for (const [, value] of kwargs) visit(value);
    visit(dynArgs);
    visit(dynKwargs);
  };
  switch (node.kind) {
    case "const":
      break;
    case "name":
      found(node.name);
      break;
    case "tuple":
    case "list":
      node.items.forEach(visit);
      break;
    case "dict":
      for (const pair of node.pairs) pair.forEach(visit);
      break;
    case "attribute":
    case "unary":
    case "not":
      visit(node.node);
      break;
    case "item":
      visit(node.node);
      visit(node.index);
      break;
    case "slice":
      node.bounds.forEach(visit);
      break;
    case "call":
    case "filter":
    case "test":
      visit(node.node);
      visitArguments(node);
      break;
    case "binary":
    case "and":
    case "or":
      visit(node.left);
      visit(node.right);
      break;
    case "concat":
      node.nodes.forEach(visit);
      break;
    case "compare":
      visit(node.first);
      for (const [, operand] of node.rest) visit(operand);
      break;
    case "condition":
      visit(node.test);
      visit(node.then);
      visit(node.otherwise);
      break;
  }
}

/**
 * Which of `names` the statements read, inner frames included. A name that is assigned before it is read does not count,
 * as in Jinja's own test for `loop` and a macro's `caller`.
 */
export function readsOf(statements: readonly Statement[], names: readonly string[]): Set<string> {
  const wanted = new Set(names);
  const read = new Set<string>();
  const onName = (name: string) => wanted.has(name) && read.add(name);
  const onExpression = (node: Expression | null) => node !== null && eachName(node, onName);
  const onTarget = (target: Target): void => {
    if (target.kind === "tuple") target.items.forEach(onTarget);
    else if (target.kind === "name") wanted.delete(target.name);
  };
  const onMacro = ({ signature, body }: Pick<Macro, "signature" | "body">): void => {
    for (const name of signature.names) wanted.delete(name);
    signature.defaults.forEach(onExpression);
    visit(body);
  };
  const visit = (body: readonly Statement[]): void => {
    for (const node of body) visitOne(node);
  };
  const visitOne = (node: Statement): void => {
    switch (node.kind) {
      case "output":
        for (const part of node.parts) if (typeof part !== "string") onExpression(part);
        break;
      case "for":
        onTarget(node.target);
        onExpression(node.iterable);
        visit(node.body);
        visit(node.otherwise);
        onExpression(node.test);
        break;
      case "if":
        for (const branch of node.branches) {
          onExpression(branch.test);
          visit(branch.body);
        }
        visit(node.otherwise);
        break;
      case "macro":
        onMacro(node);
        break;
      case "call_block":
        onExpression(node.call);
        onMacro(node);
        break;
      case "filter_block":
        visit(node.body);
        onExpression(node.filter);
        break;
      case "with":
        node.targets.forEach(onTarget);
        node.values.forEach(onExpression);
        visit(node.body);
        break;
      case "assign":
        onTarget(node.target);
        onExpression(node.value);
        break;
      case "assign_block":
        onTarget(node.target);
        onExpression(node.filter);
        visit(node.body);
        break;
      default:
    }
  };
  visit(statements);
  return read;
}
