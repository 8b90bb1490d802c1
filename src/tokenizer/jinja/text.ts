import { isPrintable } from "./characters";
import { floatText, intText } from "./numbers";
import {
  Callable,
  Cycler,
  Dict,
  DictView,
  Iter,
  isList,
  Loop,
  Markup,
  Namespace,
  Range,
  runtimeError,
  Tuple,
  typeName,
  Undefined,
  unsupported,
  type Value,
} from "./values";

/** str(value): what `{{ value }}` prints. */
export function str(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Markup) return value.text;
  return value instanceof Undefined ? "" : repr(value);
}

/** Lists that hold lists deeper than this are refused, as Python's recursion limit does. */
const MAX_DEPTH = 300;

/** repr(value): what is printed of values within lists. */
export function repr(value: Value, depth = 0): string {
  if (depth > MAX_DEPTH) throw runtimeError("maximum recursion depth exceeded while getting the repr of an object");
  const inner = (item: Value) => repr(item, depth + 1);
  switch (typeof value) {
    case "string":
      return reprText(value);
    case "boolean":
      return value ? "True" : "False";
    case "bigint":
      return intText(value);
    case "number":
      return floatText(value);
    default:
  }
  if (value === null) return "None";
  if (isList(value)) return `[${value.map(inner).join(", ")}]`;
  if (value instanceof Tuple) return `(${value.items.map(inner).join(", ")}${value.items.length === 1 ? "," : ""})`;
  if (value instanceof Dict) return reprPairs([...value.entries()], inner);
  if (value instanceof DictView) return `${value.what}([${[...value].map(inner).join(", ")}])`;
  if (value instanceof Range) {
    return `range(${value.start}, ${value.stop}${value.step === 1n ? "" : `, ${value.step}`})`;
  }
  if (value instanceof Markup) return `Markup(${reprText(value.text)})`;
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Namespace) return `<Namespace ${reprPairs([...value.attributes], inner)}>`;
  if (value instanceof Loop) return value.toString();
  if (value instanceof Callable && value.what === "Macro") return `<Macro ${reprText(value.name)}>`;
  if (value instanceof Callable || value instanceof Iter || value instanceof Cycler) {
    throw unsupported(`printing a ${typeName(value)}, whose text is a memory address in Python,`);
  }
  return value satisfies never;
}

function reprPairs(pairs: readonly (readonly [Value, Value])[], inner: (item: Value) => string): string {
  return `{${pairs.map(([key, value]) => `${inner(key)}: ${inner(value)}`).join(", ")}}`;
}

const namedEscapes: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

export function reprText(text: string, ascii = false): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let result = "";
  for (const character of text) {
    const escaped = character === quote ? `\\${quote}` : namedEscapes[character];
    const plain = isPrintable(character) && !(ascii && character > "\x7f");
    result += escaped ?? (plain ? character : codeEscape(character.codePointAt(0)!));
  }
  return quote + result + quote;
}

function codeEscape(code: number): string {
  const hex = code.toString(16);
  if (code <= 0xff) return `\\x${hex.padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

const htmlEscapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  ">": "&gt;",
  "<": "&lt;",
  "'": "&#39;",
  '"': "&#34;",
};

/** The text of a value as HTML has it; what is marked as safe stays. */
export function escapeHtml(value: Value): string {
  if (value instanceof Markup) return value.text;
  return str(value).replace(/[&><'"]/g, (character) => htmlEscapes[character]!);
}
