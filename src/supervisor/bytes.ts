import { EngineError } from "../errors";

/** Builds bytes of unknown length; numbers are little-endian. */
export class ByteWriter {
  private buffer = Buffer.allocUnsafe(1024);
  private length = 0;

  u8(value: number): void {
    this.length = this.room(1).writeUInt8(value, this.length);
  }

  u32(value: number): void {
    this.length = this.room(4).writeUInt32LE(value, this.length);
  }

  f64(value: number): void {
    this.length = this.room(8).writeDoubleLE(value, this.length);
  }

  /** Numbers of any 4-byte type, without their count. */
  words(values: Uint32Array | Float32Array): void {
    this.raw(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  }

  /** To the end of the frame. */
  rest(text: string): void {
    this.raw(Buffer.from(text));
  }

  done(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  private raw(bytes: Buffer): void {
    bytes.copy(this.room(bytes.length), this.length);
    this.length += bytes.length;
  }

  /** The buffer, with room for so many bytes more. */
  private room(bytes: number): Buffer {
    const needed = this.length + bytes;
    if (needed > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.buffer.length));
      this.buffer.copy(grown, 0, 0, this.length);
      this.buffer = grown;
    }
    return this.buffer;
  }
}

/** Reads what a ByteWriter wrote. Throws ERR_ENGINE_LOST where bytes are missing or left over. */
export class ByteReader {
  private at = 0;

  constructor(private readonly buffer: Buffer) {}

  u8(): number {
    return this.buffer.readUInt8(this.take(1));
  }

  u32(): number {
    return this.buffer.readUInt32LE(this.take(4));
  }

  f64(): number {
    return this.buffer.readDoubleLE(this.take(8));
  }

  uint32s(count: number): Uint32Array {
    return new Uint32Array(this.words(count));
  }

  float32s(count: number): Float32Array {
    return new Float32Array(this.words(count));
  }

  rest(): string {
    return this.buffer.toString("utf8", this.take(this.buffer.length - this.at));
  }

  /** Call when everything has been read. */
  end(): void {
    if (this.at !== this.buffer.length) throw malformed(`${this.buffer.length - this.at} bytes too many`);
  }

  /** A copy, because typed arrays need an aligned start. */
  private words(count: number): ArrayBuffer {
    const start = this.take(4 * count);
    const copy = new Uint8Array(4 * count);
    copy.set(this.buffer.subarray(start, this.at));
    return copy.buffer;
  }

  private take(bytes: number): number {
    const start = this.at;
    if (bytes > this.buffer.length - start)
      throw malformed(`needs ${bytes} bytes where ${this.buffer.length - start} are left`);
    this.at += bytes;
    return start;
  }
}

/** Bytes between the processes that no version of this package writes. */
export function malformed(what: string): EngineError {
  return new EngineError("ERR_ENGINE_LOST", `a frame between the server and its engine process is malformed: ${what}`);
}
