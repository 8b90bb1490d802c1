import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { EngineError, ErrorCode } from "../../src/errors";
import { failureOf } from "../helpers/failure";

export interface TestDir {
  readonly path: string;
  /** Writes a file below the directory and returns its path; objects are written as JSON. */
  write(name: string, content: string | Uint8Array | object): string;
  remove(): void;
}

export function makeTestDir(): TestDir {
  const path = mkdtempSync(join(tmpdir(), "mamba-serve-"));
  return {
    path,
    write(name, content) {
      const file = join(path, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(
        file,
        typeof content === "string" || content instanceof Uint8Array ? content : JSON.stringify(content),
      );
      return file;
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** The error that `run` throws. Fails the test if it throws nothing, another type or another code. */
export function engineError(code: ErrorCode, run: () => unknown): EngineError {
  const error = failureOf(run);
  expect({ code: error.code, message: error.message }).toEqual({ code, message: error.message });
  return error;
}

/** A safetensors file: the length, `header` as text, then `dataBytes` zeros. */
export function safetensors(header: string | object, dataBytes = 0): Uint8Array {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  return withLength(BigInt(json.length), Buffer.concat([json, Buffer.alloc(dataBytes)]));
}

/** A safetensors file whose stated header length is `length`, whatever follows. */
export function withLength(length: bigint, rest: Uint8Array): Uint8Array {
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length);
  return Buffer.concat([start, rest]);
}

/** A header entry of an F32 vector. */
export function vector(start: number, length: number) {
  return { dtype: "F32", shape: [length], data_offsets: [start, start + 4 * length] };
}
