import { closeSync, openSync, readSync } from "node:fs";
import { EngineError } from "../errors";
import type { FilePart } from "./descriptor";

/** Bytes of a file, of which a checkpoint's header says that they are there. Throws ERR_WEIGHTS where they are not. */
export function readPart({ file, offset, bytes }: FilePart): Uint8Array<ArrayBuffer> {
  const raw = new Uint8Array(bytes);
  const descriptor = openSync(file, "r");
  try {
    // One call reads 2 GB at most.
    for (let done = 0; done < bytes; ) {
      const count = readSync(descriptor, raw, done, Math.min(bytes - done, 2 ** 30), offset + done);
      if (count === 0) {
        throw new EngineError("ERR_WEIGHTS", `${file}: the file is cut off: copy or download it again`, {
          subject: file,
        });
      }
      done += count;
    }
  } finally {
    closeSync(descriptor);
  }
  return raw;
}
