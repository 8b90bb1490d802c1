import { malformed } from "./bytes";

/** Version of the frames and of the messages in them; an engine process started from a newer installation is told apart by it. */
const VERSION = 1;
/** [u32 bytes of the payload][u8 version] */
const HEADER_BYTES = 5;
/** Far above the longest prompt; what is longer is no frame. */
const MAX_PAYLOAD_BYTES = 256 * 2 ** 20;

/** The frame around a payload of at least one byte. */
export function toFrame(payload: Buffer): Buffer {
  if (payload.length === 0 || payload.length > MAX_PAYLOAD_BYTES) throw malformed(`${payload.length} bytes of payload`);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.writeUInt8(VERSION, 4);
  payload.copy(frame, HEADER_BYTES);
  return frame;
}

/** Cuts a stream of bytes into the payloads of its frames, wherever the pieces of the stream begin and end. */
export class FrameReader {
  private readonly header = Buffer.alloc(HEADER_BYTES);
  /** Length of the frame whose header is complete, in bytes. */
  private payload: Buffer | null = null;
  /** Bytes of the header or, after that, of the payload. */
  private filled = 0;

  /** `onPayload` gets each payload once it is complete, in a buffer of its own. */
  constructor(private readonly onPayload: (payload: Buffer) => void) {}

  /** Throws ERR_ENGINE_LOST for what is no frame, and what `onPayload` throws. Not to be called again after that. */
  push(piece: Buffer): void {
    for (let at = 0; at < piece.length; ) {
      const target = this.payload ?? this.header;
      const copied = piece.copy(target, this.filled, at);
      at += copied;
      this.filled += copied;
      if (this.filled < target.length) return;
      this.filled = 0;
      const complete = this.payload;
      this.payload = complete === null ? this.allocate() : null;
      if (complete !== null) this.onPayload(complete);
    }
  }

  private allocate(): Buffer {
    const length = this.header.readUInt32LE(0);
    const version = this.header.readUInt8(4);
    if (version !== VERSION) throw malformed(`version ${version} instead of ${VERSION}; restart the server`);
    if (length === 0 || length > MAX_PAYLOAD_BYTES) throw malformed(`${length} bytes of payload`);
    return Buffer.allocUnsafe(length);
  }
}
