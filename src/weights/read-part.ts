import { closeSync, openSync, readSync } from "node:fs";
import { EngineError } from "../errors";
import type { FilePart } from "./part";

/** Bytes of a file, of which a checkpoint's header says that they are there. Throws ERR_WEIGHTS where they are not. */
export function readPart({ file, offset, bytes, rows = { bytes, stride: bytes } }: FilePart): Uint8Array<ArrayBuffer> {
  const raw = new Uint8Array(bytes);
  const descriptor = openSync(file, "r");
  try {
    for (let done = 0; done < bytes; ) {
      const within = done % rows.bytes;
      const at = offset + Math.floor(done / rows.bytes) * rows.stride + within;
      // One call reads 2 GB at most.
      const count = readSync(descriptor, raw, done, Math.min(rows.bytes - within, 2 ** 30), at);
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
