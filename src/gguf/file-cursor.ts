import { type ReadBytes, rejectFile } from "../weights/weight-file";

const WINDOW_BYTES = 1 << 20;
/** Longest string of a header; chat templates are the longest ones. */
const MAX_STRING_BYTES = 1 << 24;

/** Little-endian values of a file, one after the other. Throws ERR_WEIGHTS where the file ends before a value does. */
export class FileCursor {
  private window: Buffer = Buffer.alloc(0);
  private windowStart = 0;

  constructor(
    private readonly file: string,
    private readonly fileBytes: number,
    private readonly read: ReadBytes,
    /** Offset of the next value. */
    public position = 0,
  ) {}

  /** `what` is what errors call the value. The bytes are good until the next call. */
  bytes(length: number, what: string): Buffer {
    if (length > this.fileBytes - this.position) {
      const problem = `${what}: expected ${length} bytes at offset ${this.position}, got a file of ${this.fileBytes}`;
      rejectFile(this.file, problem, "the file is cut off or damaged: download it again");
    }
    const end = this.position + length;
    if (this.position < this.windowStart || end > this.windowStart + this.window.length) {
      const wanted = Math.min(Math.max(length, WINDOW_BYTES), this.fileBytes - this.position);
      const { buffer, byteOffset } = this.read(this.position, wanted);
      this.window = Buffer.from(buffer, byteOffset, wanted);
      this.windowStart = this.position;
    }
    const start = this.position - this.windowStart;
    this.position = end;
    return this.window.subarray(start, start + length);
  }

  skip(length: number, what: string): void {
    if (length > this.fileBytes - this.position) this.bytes(length, what);
    this.position += length;
  }

  uint32(what: string): number {
    return this.bytes(4, what).readUInt32LE();
  }

  /** A number of things, at most `max`. */
  count(max: number, what: string): number {
    const value = this.bytes(8, what).readBigUInt64LE();
    if (value <= BigInt(max)) return Number(value);
    const problem = `${what}: expected at most ${max}, got ${value}`;
    return rejectFile(this.file, problem, "the file is damaged: download it again, or convert it again");
  }

  string(what: string): string {
    const bytes = this.bytes(this.count(MAX_STRING_BYTES, `the length of ${what}`), what);
    const text = bytes.toString("utf8");
    // A character in the place of invalid bytes has three of them.
    if (!text.includes("\ufffd") || Buffer.from(text).equals(bytes)) return text;
    return rejectFile(this.file, `${what}: expected UTF-8, got other bytes`, "convert the file again");
  }

  skipString(what: string): void {
    this.skip(this.count(MAX_STRING_BYTES, `the length of ${what}`), what);
  }
}
