import { type Kwargs, runtimeError, type Value } from "./values";

/**
 * Puts positional and keyword arguments in the order of `names`; undefined for those not given.
 *
 * @param names The parameters; a name that ends in "?" may be left out, and one before "/" may not be given by keyword.
 */
export function bind(
  what: string,
  names: readonly string[],
  args: readonly Value[],
  kwargs: Kwargs,
): (Value | undefined)[] {
  const positionalOnly = names.indexOf("/");
  const parameters = names.filter((name) => name !== "/");
  if (args.length > parameters.length) {
    throw runtimeError(`${what}() takes at most ${parameters.length} arguments (${args.length} given)`);
  }
  const bound: (Value | undefined)[] = parameters.map((_, index) => args[index]);
  for (const [key, value] of kwargs) {
    const index = parameters.findIndex((name) => name.replace("?", "") === key);
    if (index < 0 || index < positionalOnly) {
      throw runtimeError(`${what}() got an unexpected keyword argument '${key}'`);
    }
    if (index < args.length) throw runtimeError(`${what}() got multiple values for argument '${key}'`);
    bound[index] = value;
  }
  parameters.forEach((name, index) => {
    if (bound[index] === undefined && !name.endsWith("?")) {
      throw runtimeError(`${what}() missing 1 required positional argument: '${name}'`);
    }
  });
  return bound;
}
