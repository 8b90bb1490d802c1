import type { FileHandle } from "../native/abi";
import { call } from "../native/call";
import type { Stream } from "./stream";
import type { Tensor } from "./tensor";

/** A read-only mapping of a file that tensors are filled from. */
export class MappedFile {
  private constructor(readonly handle: FileHandle) {}

  /** Throws ERR_IO. */
  static open(path: string): MappedFile {
    return new MappedFile(call("mapFile", path));
  }

  /** Copies a contiguous tensor's raw bits from a byte offset. Throws ERR_IO where the file is too short. */
  upload(stream: Stream, tensor: Tensor, offset: number): void {
    call("uploadFile", stream.handle, tensor.handle, this.handle, offset);
  }

  /** Waits (blocking) for launched copies. */
  close(): void {
    call("unmapFile", this.handle);
  }
}
