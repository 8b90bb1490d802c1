import { JsonCursor, quoted } from "./json-cursor";
import { rejectFile, withWeightFile } from "./weight-file";

/** Element sizes in bits, of every type the format knows; F4 and F6 are packed. */
const dtypeBits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  U8: 8,
  I8: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
} as const;

export type SafetensorsDtype = keyof typeof dtypeBits;

export interface TensorEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Offset of the first byte from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** What a weight file says of its tensors. */
export interface WeightHeader {
  /** By name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Size of the file when it was read; whoever maps it must find the same. */
  readonly fileBytes: number;
}

export interface SafetensorsHeader extends WeightHeader {
  /** The free-form strings under "__metadata__". */
  readonly metadata: ReadonlyMap<string, string>;
}

const maxHeaderBytes = 100_000_000;
export const maxTensors = 200_000;
export const maxRank = 8;

const cutOff = "the file is cut off or damaged: download it again";
const damaged = "the file is damaged: download it again, or convert it again";

/**
 * Reads and checks the header of a safetensors file; tensor data is not touched. The rules are those of the format's own
 * Rust reader, and stricter where that one is silent: no repeated keys, at most 8 dimensions and 200,000 tensors.
 * Throws ERR_WEIGHTS.
 */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  return withWeightFile(path, (fileBytes, read) => readHeader(path, fileBytes, read));
}

/** The same for a file in memory; `name` is what errors call it. */
export function parseSafetensorsHeader(file: Uint8Array, name: string): SafetensorsHeader {
  return readHeader(name, file.length, (offset, length) => file.subarray(offset, offset + length));
}

function readHeader(
  file: string,
  fileBytes: number,
  read: (offset: number, length: number) => Uint8Array,
): SafetensorsHeader {
  if (fileBytes < 8) rejectFile(file, `expected at least 8 bytes, got ${fileBytes}`, cutOff);
  const start = Buffer.from(read(0, Math.min(fileBytes, 24)));
  if (start.toString("latin1").startsWith("version https://git-lfs")) {
    rejectFile(file, "this is a Git LFS pointer, not the weights", "run `git lfs pull` in its directory");
  }
  const headerBytes = start.readBigUInt64LE(0);
  if (headerBytes > BigInt(maxHeaderBytes)) {
    rejectFile(file, `expected a header of at most ${maxHeaderBytes} bytes, got a length of ${headerBytes}`, damaged);
  }
  const dataStart = 8 + Number(headerBytes);
  if (dataStart > fileBytes) {
    rejectFile(
      file,
      `expected a header of ${headerBytes} bytes after the first 8, got a file of ${fileBytes} bytes`,
      cutOff,
    );
  }
  if (start[8] !== 0x7b) rejectFile(file, "expected the header to start with '{'", damaged);
  const { tensors, metadata } = parseHeader(file, decode(file, read(8, dataStart - 8)), dataStart);
  checkLayout(file, tensors, dataStart, fileBytes);
  return { tensors, metadata, fileBytes };
}

function decode(file: string, header: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    return rejectFile(file, "expected a header in UTF-8, got invalid bytes", damaged, cause);
  }
}

function parseHeader(file: string, text: string, dataStart: number) {
  const tensors = new Map<string, TensorEntry>();
  const metadata = new Map<string, string>();
  let tensor: string | undefined;
  const fail = (message: string): never => {
    return rejectFile(file, `${tensor === undefined ? "header" : `tensor ${quoted(tensor)}`}: ${message}`, damaged);
  };
  const cursor = new JsonCursor(text, fail);
  cursor.object("the header, an object", (name) => {
    tensor = name;
    if (name === "__metadata__") {
      cursor.object("an object of strings", (key) => metadata.set(key, cursor.string("a string")));
    } else {
      if (tensors.size === maxTensors) fail(`expected at most ${maxTensors} tensors, got more`);
      tensors.set(name, parseTensor(cursor, dataStart, fail));
    }
    tensor = undefined;
  });
  cursor.end();
  return { tensors, metadata };
}

function parseTensor(cursor: JsonCursor, dataStart: number, fail: (message: string) => never): TensorEntry {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  cursor.object("an object with dtype, shape and data_offsets", (key) => {
    if (key === "dtype") dtype = cursor.string("dtype, a string");
    else if (key === "shape") shape = sizes(cursor, "shape", maxRank, fail);
    else if (key === "data_offsets") offsets = sizes(cursor, "data_offsets", 2, fail);
    else cursor.skip();
  });
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    const missing = dtype === undefined ? "dtype" : shape === undefined ? "shape" : "data_offsets";
    return fail(`expected dtype, shape and data_offsets, got no ${missing}`);
  }
  if (!isDtype(dtype)) return fail(`expected a dtype of ${Object.keys(dtypeBits).join(", ")}, got ${quoted(dtype)}`);
  const [start, end] = offsets;
  if (start === undefined || end === undefined) return fail(`expected two data_offsets, got ${offsets.length}`);
  if (start > end) fail(`expected data_offsets in order, got [${start}, ${end}]`);
  const bytes = bytesOf(dtype, shape, fail);
  if (bytes !== end - start) {
    fail(`expected ${bytes} bytes for ${dtype} [${shape}], got ${end - start} from data_offsets [${start}, ${end}]`);
  }
  return { dtype, shape, offset: dataStart + start, bytes };
}

function sizes(cursor: JsonCursor, key: string, most: number, fail: (message: string) => never): number[] {
  const values: number[] = [];
  cursor.array(`${key}, an array of integers`, () => {
    if (values.length === most) fail(`expected at most ${most} numbers in ${key}, got more`);
    values.push(cursor.size(`a number of ${key}`));
  });
  return values;
}

function isDtype(dtype: string): dtype is SafetensorsDtype {
  return Object.hasOwn(dtypeBits, dtype);
}

/** `fail` throws: for a size that overflows, or is none of whole bytes. */
export function bytesOf(dtype: SafetensorsDtype, shape: readonly number[], fail: (message: string) => never): number {
  let bits: number = dtypeBits[dtype];
  for (const dimension of shape) {
    bits *= dimension;
    if (bits > Number.MAX_SAFE_INTEGER) fail(`the size of ${dtype} [${shape}] overflows`);
  }
  if (bits % 8 !== 0) fail(`expected whole bytes, got ${bits} bits for ${dtype} [${shape}]`);
  return bits / 8;
}

/** Tensors must cover the data from its first to its last byte, each byte once. */
function checkLayout(file: string, tensors: Map<string, TensorEntry>, dataStart: number, fileBytes: number): void {
  const byOffset = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataStart;
  for (const [name, { offset, bytes }] of byOffset) {
    if (offset !== end) {
      const problem = offset < end ? "overlaps the tensor before it" : "leaves a hole before it";
      const at = `expected data at offset ${end - dataStart}, got ${offset - dataStart}`;
      rejectFile(file, `tensor ${quoted(name)} ${problem}: ${at}`, damaged);
    }
    end = offset + bytes;
  }
  if (end !== fileBytes) {
    const last = byOffset.at(-1);
    const name = last === undefined ? "no tensors" : `tensor ${quoted(last[0])} being the last`;
    rejectFile(file, `expected ${end} bytes, ${name}, got ${fileBytes}`, end > fileBytes ? cutOff : damaged);
  }
}
