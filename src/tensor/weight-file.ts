import type { FileHandle } from "../native/abi";
import { addon } from "../native/load";
import type { Stream } from "./stream";
import type { Tensor } from "./tensor";

/** A file that tensors are filled from, by the device's own threads. */
export class WeightFile {
  private constructor(readonly handle: FileHandle) {}

  /** Throws ERR_IO. */
  static open(path: string): WeightFile {
    return new WeightFile(addon().openFile(path));
  }

  /** Copies a contiguous tensor's raw bits from a byte offset. Throws ERR_IO where the file is too short. */
  upload(stream: Stream, tensor: Tensor, offset: number): void {
    addon().uploadFile(stream.handle, tensor.handle, this.handle, offset);
  }

  /** What is launched still reads it. */
  close(): void {
    addon().closeFile(this.handle);
  }
}
