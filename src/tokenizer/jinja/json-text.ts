import { floatText, intText } from "./numbers";
import { sorted, toIndex } from "./operators";
import { str } from "./text";
import { Dict, isList, Markup, runtimeError, Tuple, typeName, type Value } from "./values";

export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** null: on one line. */
  readonly indent: Value;
  /** null: Python's own, `, ` and `: `. */
  readonly separators: Value;
  readonly sortKeys: boolean;
}

/** json.dumps(value, ...). */
export function jsonText(value: Value, { ensureAscii, indent, separators, sortKeys }: JsonOptions): string {
  const step = indent === null ? null : typeof indent === "string" ? indent : " ".repeat(Math.max(0, toIndex(indent)));
  let between = step === null ? ", " : ",";
  let colon = ": ";
  if (separators instanceof Tuple || isList(separators)) {
    const parts = isList(separators) ? separators : separators.items;
    if (parts.length !== 2) throw runtimeError("separators must be two strings");
    [between, colon] = [str(parts[0]!), str(parts[1]!)];
  } else if (separators !== null) {
    throw runtimeError("separators must be two strings");
  }
  const quoted = (text: string) => quote(text, ensureAscii);

  const write = (item: Value, margin: string): string => {
    switch (typeof item) {
      case "string":
        return quoted(item);
      case "boolean":
        return item ? "true" : "false";
      case "bigint":
        return intText(item);
      case "number":
        return jsonFloat(item);
      default:
    }
    if (item === null) return "null";
    if (item instanceof Markup) return quoted(item.text);
    if (isList(item) || item instanceof Tuple) {
      const items = isList(item) ? item : item.items;
      return wrapped("[", "]", margin, (inner) => items.map((one) => write(one, inner)));
    }
    if (item instanceof Dict) {
      const entries = sortKeys ? sorted([...item.entries()], ([key]) => key, false) : [...item.entries()];
      return wrapped("{", "}", margin, (inner) =>
        entries.map(([key, one]) => `${quoted(keyText(key))}${colon}${write(one, inner)}`),
      );
    }
    throw runtimeError(`Object of type ${typeName(item)} is not JSON serializable`);
  };
  const wrapped = (open: string, close: string, margin: string, parts: (inner: string) => string[]): string => {
    if (step === null) return open + parts("").join(between) + close;
    const inner = `${margin}${step}`;
    const written = parts(inner);
    return written.length === 0
      ? open + close
      : `${open}\n${inner}${written.join(`${between}\n${inner}`)}\n${margin}${close}`;
  };
  return write(value, "");
}

function keyText(key: Value): string {
  switch (typeof key) {
    case "string":
      return key;
    case "boolean":
      return key ? "true" : "false";
    case "bigint":
      return intText(key);
    case "number":
      return jsonFloat(key);
    default:
  }
  if (key === null) return "null";
  if (key instanceof Markup) return key.text;
  throw runtimeError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) return floatText(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

function quote(text: string, ensureAscii: boolean): string {
  const quoted = JSON.stringify(text);
  if (!ensureAscii) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
