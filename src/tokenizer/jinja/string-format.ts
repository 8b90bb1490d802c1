import { formatValue } from "./format-spec";
import { escapeHtml, repr, reprText, str } from "./text";
import { type Dict, type Kwargs, Markup, runtimeError, type Value } from "./values";

/** How `{a.b}` and `{a[b]}` find what they name. */
export interface Lookup {
  attribute(value: Value, name: string): Value;
  item(value: Value, key: Value): Value;
}

export interface FormatArguments {
  readonly args: readonly Value[];
  readonly kwargs: Kwargs | Dict;
  /** Whether values are escaped, as for a text that is safe HTML. */
  readonly html: boolean;
  readonly lookup: Lookup;
}

/** `text.format(*args, **kwargs)`. */
export function formatText(text: string, given: FormatArguments): string {
  return new Formatter(given).format(text, 2);
}

class Formatter {
  private automatic = 0;
  private manual = false;

  constructor(private readonly given: FormatArguments) {}

  format(text: string, depth: number): string {
    if (depth < 0) throw runtimeError("Max string recursion exceeded");
    let result = "";
    for (let at = 0; at < text.length; ) {
      const brace = text.slice(at).search(/[{}]/);
      if (brace < 0) return result + text.slice(at);
      result += text.slice(at, at + brace);
      at += brace;
      if (text[at + 1] === text[at]) {
        result += text[at];
        at += 2;
        continue;
      }
      if (text[at] === "}") throw runtimeError("Single '}' encountered in format string");
      const end = fieldEnd(text, at);
      result += this.field(text.slice(at + 1, end), depth);
      at = end + 1;
    }
    return result;
  }

  private field(source: string, depth: number): string {
    const [, path, conversion, spec = ""] = /^((?:[^[:!]|\[[^\]]*\])*)(?:!([^:]*))?(?::(.*))?$/s.exec(source) ?? [];
    if (path === undefined) throw runtimeError("expected ':' after conversion specifier");
    const value = this.converted(this.value(path), conversion);
    const format = this.format(spec, depth - 1);
    if (!this.given.html) return formatValue(value, format);
    if (!(value instanceof Markup)) return escapeHtml(formatValue(value, format));
    if (format !== "") throw runtimeError("Unsupported format specification for Markup.");
    return value.text;
  }

  private converted(value: Value, conversion: string | undefined): Value {
    switch (conversion) {
      case undefined:
        return value;
      case "s":
        return str(value);
      case "r":
        return repr(value);
      case "a":
        return repr(value).replace(/[^\0-\x7f]/gu, (found) => reprText(found, true).slice(1, -1));
      default:
        throw runtimeError(`Unknown conversion specifier '${conversion}'`);
    }
  }

  private value(path: string): Value {
    const first = /^[^.[]*/.exec(path)![0];
    let value = this.named(first);
    let rest = path.slice(first.length);
    while (rest !== "") {
      const step = /^(?:\.([^.[]+)|\[([^\]]+)\])/.exec(rest);
      if (step === null) throw runtimeError("Empty attribute in format string");
      const [all, name, index] = step;
      if (name !== undefined) value = this.given.lookup.attribute(value, name);
      else value = this.given.lookup.item(value, /^\d+$/.test(index!) ? BigInt(index!) : index!);
      rest = rest.slice(all.length);
    }
    return value;
  }

  private named(name: string): Value {
    let index: number | undefined;
    if (name === "") {
      if (this.manual) throw runtimeError("cannot switch from manual field specification to automatic field numbering");
      index = this.automatic++;
    } else if (/^\d+$/.test(name)) {
      if (this.automatic > 0) {
        throw runtimeError("cannot switch from automatic field numbering to manual field specification");
      }
      this.manual = true;
      index = Number(name);
    }
    const value = index === undefined ? this.given.kwargs.get(name) : this.given.args[index];
    if (value !== undefined) return value;
    throw runtimeError(
      index === undefined ? repr(name) : `Replacement index ${index} out of range for positional args tuple`,
    );
  }
}

/** Where the field that begins at `start` ends; fields may be within its format. */
function fieldEnd(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    if (text[at] === "{") depth++;
    else if (text[at] === "[" && depth === 1) {
      const close = text.indexOf("]", at);
      if (close > 0 && !text.slice(start, at).includes(":")) at = close;
    } else if (text[at] === "}" && --depth === 0) return at;
  }
  throw runtimeError("expected '}' before end of string");
}
