import { bind } from "../arguments";
import type { Kwargs, Value } from "../values";

/** What filters need of the template that uses them. */
export interface Environment {
  filter(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value;
  test(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value;
}

export type Filter = (value: Value, args: readonly Value[], kwargs: Kwargs, environment: Environment) => Value;

/** @param names Parameters after the value, as `bind` takes them. */
export function filter(
  name: string,
  names: string,
  run: (value: Value, args: (Value | undefined)[], environment: Environment) => Value,
): Filter {
  const parameters = names.split(" ").filter(Boolean);
  return (value, args, kwargs, environment) => run(value, bind(name, parameters, args, kwargs), environment);
}

export type FilterTable = Readonly<Record<string, Filter>>;

/** A table from names to parameters and function. */
export function filters(
  rows: Readonly<Record<string, readonly [names: string, run: Parameters<typeof filter>[2]]>>,
): FilterTable {
  return Object.fromEntries(Object.entries(rows).map(([name, [names, run]]) => [name, filter(name, names, run)]));
}
