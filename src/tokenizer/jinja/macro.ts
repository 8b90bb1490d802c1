import { call as callValue } from "./attributes";
import type { CompileBody } from "./execute";
import { compileCall, compileExpression, type Evaluate } from "./expressions";
import type { Frame, Scope } from "./frame";
import { syntaxError } from "./lexer";
import { readsOf } from "./names";
import type { CallBlock, Signature, Statement } from "./nodes";
import { Symbols, visitSignature, visitStatements } from "./symbols";
import { Callable, Dict, type Kwargs, NO_KWARGS, runtimeError, Tuple, Undefined, type Value } from "./values";

/** What a macro may read without declaring it. */
const specialNames = ["caller", "kwargs", "varargs"] as const;

/** @param name null for the body of a call block. */
export function compileMacro(
  name: string | null,
  { names, defaults }: Signature,
  body: readonly Statement[],
  scope: Scope,
  compileBody: CompileBody,
): Evaluate {
  const symbols = new Symbols(scope.symbols);
  const read = readsOf(body, specialNames);
  const takes = (special: string) => read.has(special) && !names.includes(special);
  const [takesCaller, takesKwargs, takesVarargs] = specialNames.map(takes);
  visitSignature(symbols, { names, defaults });
  for (const special of specialNames) if (takes(special)) symbols.parameter(special);
  visitStatements(symbols, body);
  const firstDefault = names.length - defaults.length;
  if (read.has("caller") && names.indexOf("caller") >= 0 && names.indexOf("caller") < firstDefault) {
    throw syntaxError('the special "caller" argument must be omitted or be given a default', 1);
  }
  const inner = scope.inner(symbols, false);
  const parameters = names.map((parameter, index) => ({
    parameter,
    slot: symbols.find(parameter)!.slot,
    otherwise: index < firstDefault ? null : compileExpression(defaults[index - firstDefault]!, inner),
  }));
  const slotOf = (special: string) => symbols.find(special)?.slot ?? -1;
  const [callerSlot, kwargsSlot, varargsSlot] = specialNames.map(slotOf);
  const run = compileBody(body, inner);
  const shown = name ?? "None";

  const invoke = (frame: Frame, args: readonly Value[], kwargs: Kwargs): Value => {
    const within = frame.inner();
    const left = new Map(kwargs);
    const take = (key: string): Value | undefined => {
      const value = left.get(key);
      left.delete(key);
      return value;
    };
    parameters.forEach(({ parameter, slot }, index) => {
      within.values[slot] = index < args.length ? args[index] : take(parameter);
    });
    if (takesCaller) within.values[callerSlot!] = take("caller") ?? new Undefined("No caller defined");
    if (takesKwargs) {
      within.values[kwargsSlot!] = Dict.from(left);
    } else if (left.size > 0) {
      throw runtimeError(
        left.has("caller")
          ? `macro '${shown}' was invoked with two values for the special caller argument. This is most likely a bug.`
          : `macro '${shown}' takes no keyword argument '${[...left.keys()][0]}'`,
      );
    }
    if (takesVarargs) within.values[varargsSlot!] = new Tuple(args.slice(names.length));
    else if (args.length > names.length) {
      throw runtimeError(`macro '${shown}' takes not more than ${names.length} argument(s)`);
    }
    within.enter(symbols);
    for (const { parameter, slot, otherwise } of parameters) {
      if (within.values[slot] !== undefined) continue;
      within.values[slot] =
        otherwise === null ? new Undefined(`parameter '${parameter}' was not provided`) : otherwise(within);
    }
    const output: string[] = [];
    run(within, output);
    return output.join("");
  };
  const attributes = new Map<string, Value>([
    ["name", name],
    ["arguments", new Tuple(names)],
    ["catch_kwargs", takesKwargs!],
    ["catch_varargs", takesVarargs!],
    ["caller", takesCaller!],
  ]);
  return (frame) => new Callable("Macro", shown, (args, kwargs) => invoke(frame, args, kwargs), attributes);
}

/** What a call block writes: its call, with its body as the macro `caller`. */
export function compileBlockCall(node: CallBlock, scope: Scope, compileBody: CompileBody): Evaluate {
  const caller = compileMacro(null, node.signature, node.body, scope, compileBody);
  if (node.call !== null) return compileCall(node.call, scope, caller);
  return (frame) => callValue(caller(frame), [], NO_KWARGS);
}
