import { readFileSync, statSync } from "node:fs";
import type { z } from "zod";
import { EngineError, type ErrorCode } from "../../errors";
import { isObject } from "../../json/value";

/** ModelOpt lists each quantized module by its name: 40 layers of 512 experts are 5 MB. */
const maxBytes = 16 * 2 ** 20;

/**
 * A JSON file that holds one object, with the errors that readers of it throw.
 *
 * Python writes bare Infinity and NaN, which no JSON has. They become `{"__float__": "Infinity"}`, which is how newer
 * releases of transformers write them, so that only fields which take such a value (see `toNumber`) accept it.
 */
export class ConfigFile {
  private constructor(
    readonly path: string,
    readonly value: Readonly<Record<string, unknown>>,
    /** What the file calls a key of `value`. */
    private readonly nameOf: (key: string) => string = (key) => key,
  ) {}

  /** Throws ERR_CONFIG: no such file, over 16 MB, not UTF-8, not JSON, not an object. */
  static read(path: string): ConfigFile {
    const value = parseJson(path, readText(path));
    if (!isObject(value)) throw configError(path, `expected an object, got ${described(value)}`);
    return new ConfigFile(path, value);
  }

  /** An object that comes from another file at `path`, which calls a key by `nameOf`. */
  static of(path: string, value: Readonly<Record<string, unknown>>, nameOf: (key: string) => string): ConfigFile {
    return new ConfigFile(path, value, nameOf);
  }

  /** The object at `key`, whose errors still name the whole way to a key. ERR_CONFIG where it is no object. */
  under(key: string): ConfigFile {
    const value = this.value[key];
    if (!isObject(value)) return this.reject(key, "an object");
    return new ConfigFile(this.path, value, (inner) => this.nameOf(`${key}.${inner}`));
  }

  /**
   * The same file read by one spelling. `spellings` lists the names that a key goes by: the first of them that the file
   * has counts, and errors name that one.
   */
  respelled(spellings: Readonly<Record<string, readonly string[]>>): ConfigFile {
    const used = new Map<string, string>();
    for (const [key, names] of Object.entries(spellings)) {
      const name = names.find((each) => isPresent(this.value[each]));
      if (name !== undefined) used.set(key, name);
    }
    const value = { ...this.value };
    for (const [key, name] of used) value[key] = this.value[name];
    return new ConfigFile(this.path, value, (key) => {
      const [first = "", ...rest] = key.split(".");
      return this.nameOf([used.get(first) ?? first, ...rest].join("."));
    });
  }

  /** The keys that `schema` names. Its messages say what is expected; ERR_CONFIG says so of the first that fails. */
  fields<T>(schema: z.ZodType<T>): T {
    const result = schema.safeParse(this.value);
    if (result.success) return result.data;
    const issue = result.error.issues[0]!;
    return this.reject(issue.path.join("."), issue.message);
  }

  /** ERR_CONFIG: the value of `key` (dotted for nested objects) is not what was expected. */
  reject(key: string, expected: string): never {
    return this.throwFor("ERR_CONFIG", key, expected);
  }

  /** ERR_MODEL_UNSUPPORTED: the value is well-formed, and nothing here implements it. */
  unsupported(key: string, expected: string): never {
    return this.throwFor("ERR_MODEL_UNSUPPORTED", key, expected);
  }

  private throwFor(code: ErrorCode, key: string, expected: string): never {
    let value: unknown = this.value;
    for (const part of key.split(".")) value = (value as Record<string, unknown> | undefined)?.[part];
    const name = this.nameOf(key);
    throw new EngineError(code, `${this.path}: ${name}: expected ${expected}, got ${described(value)}`, {
      subject: name,
    });
  }
}

/** Neither missing nor null: transformers writes null for what a config leaves to the class. */
export function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** A JSON number, or one of Python's non-finite ones; undefined for anything else. */
export function toNumber(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  const name = floatName(value);
  return name === undefined ? undefined : Number(name);
}

function floatName(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || !("__float__" in value)) return undefined;
  const name = value.__float__;
  return name === "Infinity" || name === "-Infinity" || name === "NaN" ? name : undefined;
}

function configError(path: string, message: string, cause?: unknown): EngineError {
  return new EngineError("ERR_CONFIG", `${path}: ${message}`, { subject: path, cause });
}

function readText(path: string): string {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw configError(path, "expected a regular file, got something else");
    if (stat.size > maxBytes) throw configError(path, `expected at most ${maxBytes} bytes, got ${stat.size}`);
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (cause) {
    if (EngineError.is(cause)) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const problem = code === "ENOENT" ? "expected this file, got no such file" : `cannot be read (${message})`;
    throw configError(path, problem, cause);
  }
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    try {
      return JSON.parse(withEncodedFloats(text));
    } catch (cause) {
      throw configError(path, `expected JSON, got ${(cause as Error).message}`, cause);
    }
  }
}

function withEncodedFloats(text: string): string {
  // A string is consumed whole, closed or not: the scan must stay linear, and words within strings stay as they are.
  const stringOrWord = /"[^"\\]*(?:\\.[^"\\]*)*"?|-?\b(?:Infinity|NaN)\b/gs;
  return text.replace(stringOrWord, (found) => (found.startsWith('"') ? found : `{"__float__":"${found}"}`));
}

/** A value as an error shows it: short, whatever it holds. */
function described(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return JSON.stringify(value.length <= 60 ? value : `${value.slice(0, 60)}...`);
  if (Array.isArray(value)) {
    return value.length <= 8 ? `[${value.map(describedElement).join(", ")}]` : `an array of ${value.length}`;
  }
  return floatName(value) ?? (typeof value === "object" && value !== null ? "an object" : String(value));
}

function describedElement(value: unknown): string {
  return Array.isArray(value) ? "an array" : described(value);
}
