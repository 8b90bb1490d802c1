import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { EngineError } from "../errors";

/** Bytes [offset, offset + length) of a file; both lie in it. */
export type ReadBytes = (offset: number, length: number) => Uint8Array;

/** Opens a file, and closes it whatever comes. Throws ERR_WEIGHTS where it cannot be opened or read. */
export function withWeightFile<T>(path: string, use: (fileBytes: number, read: ReadBytes) => T): T {
  const fd = openFile(path);
  try {
    return use(fstatSync(fd).size, (offset, length) => readBytes(fd, path, offset, length));
  } finally {
    closeSync(fd);
  }
}

export function rejectFile(file: string, problem: string, remedy: string, cause?: unknown): never {
  throw new EngineError("ERR_WEIGHTS", `${file}: ${problem}; ${remedy}`, { subject: file, cause });
}

function openFile(path: string): number {
  try {
    // Opening a FIFO would block for ever, so the type is looked at first.
    if (statSync(path).isFile()) return openSync(path, "r");
  } catch (cause) {
    return rejectFile(
      path,
      `cannot be opened (${(cause as Error).message})`,
      "check the path and its permissions",
      cause,
    );
  }
  return rejectFile(path, "expected a regular file, got something else", "check the path");
}

function readBytes(fd: number, path: string, offset: number, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    let count: number;
    try {
      count = readSync(fd, bytes, done, length - done, offset + done);
    } catch (cause) {
      return rejectFile(path, `cannot be read (${(cause as Error).message})`, "check the disk", cause);
    }
    if (count === 0)
      rejectFile(path, `ended at byte ${offset + done} while it was read`, "another process is writing it");
    done += count;
  }
  return bytes;
}
