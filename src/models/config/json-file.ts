import { readFileSync, statSync } from "node:fs";
import type { z } from "zod";
import { EngineError, type ErrorCode } from "../../errors";

const maxBytes = 1_048_576;

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
  ) {}

  /** Throws ERR_CONFIG: no such file, over 1 MB, not UTF-8, not JSON, not an object. */
  static read(path: string): ConfigFile {
    const value = parseJson(path, readText(path));
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw configError(path, `expected an object, got ${described(value)}`);
    }
    return new ConfigFile(path, value as Record<string, unknown>);
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
    throw new EngineError(code, `${this.path}: ${key}: expected ${expected}, got ${described(value)}`, {
      subject: key,
    });
  }
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
