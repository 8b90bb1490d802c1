import { open, readFile } from "node:fs/promises";
import { extname } from "node:path";
import { EngineError } from "../errors";
import { readSafetensorsHeader } from "../weights/safetensors";

/**
 * The content of a file to score: text, or token ids where the name ends in .json or .safetensors.
 *
 * @throws EngineError ERR_IO where it cannot be read, ERR_REQUEST where it holds something else, ERR_WEIGHTS for a
 * malformed safetensors file
 */
export async function readTokenFile(path: string, tensor: string): Promise<string | number[]> {
  const extension = extname(path).toLowerCase();
  if (extension === ".safetensors") return tensorIds(path, tensor);
  const text = await readText(path);
  return extension === ".json" ? jsonIds(path, text) : text;
}

function reject(path: string, message: string, cause?: unknown): never {
  throw new EngineError("ERR_REQUEST", `${path}: ${message}`, { subject: path, cause });
}

async function readText(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new EngineError("ERR_IO", `${path}: cannot be read (${(cause as Error).message})`, { subject: path, cause });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    return reject(path, "expected text in UTF-8, got other bytes", cause);
  }
}

function jsonIds(path: string, text: string): number[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return reject(path, `expected a JSON array of token ids, got no JSON (${(cause as Error).message})`, cause);
  }
  if (!Array.isArray(value)) return reject(path, "expected a JSON array of token ids, got something else");
  const wrong = value.findIndex((id) => !Number.isInteger(id));
  if (wrong >= 0) reject(path, `expected token ids, got ${JSON.stringify(value[wrong])} at index ${wrong}`);
  return value as number[];
}

async function tensorIds(path: string, name: string): Promise<number[]> {
  const { tensors } = readSafetensorsHeader(path);
  const entry = tensors.get(name);
  if (entry === undefined || entry.dtype !== "I32") {
    const named = [...tensors].flatMap(([other, { dtype }]) => (dtype === "I32" ? [other] : []));
    const got = entry === undefined ? "no such tensor" : `type ${entry.dtype}`;
    return reject(
      path,
      `expected an I32 tensor ${name}, got ${got}; --tensor chooses one of: ${named.join(", ") || "none there"}`,
    );
  }
  const bytes = Buffer.alloc(entry.bytes);
  const file = await open(path);
  try {
    const { bytesRead } = await file.read(bytes, 0, entry.bytes, entry.offset);
    if (bytesRead !== entry.bytes) reject(path, "ended while it was read; another process is writing it");
  } finally {
    await file.close();
  }
  return Array.from({ length: entry.bytes / 4 }, (_, i) => bytes.readInt32LE(i * 4));
}
