import { type ReadBytes, rejectFile } from "../weights/weight-file";
import { FileCursor } from "./file-cursor";
import { readValue, type StoredValue } from "./metadata";
import { type TensorType, tensorTypes } from "./tensor-types";

export interface TensorInfo {
  readonly type: TensorType;
  /** Rows first, as everywhere here; files write the elements of a row first. */
  readonly shape: readonly number[];
  /** Offset of the first byte from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** What a GGUF file has before its data. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, StoredValue>;
  /** By name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

const versions = [2, 3];
const MAX_KEYS = 65_536;
const MAX_TENSORS = 200_000;
const MAX_RANK = 4;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 1 << 20;

const damaged = "the file is damaged: download it again, or convert it again";

/**
 * Reads and checks the header of a GGUF file of version 2 or 3 (ggml's gguf.md), little-endian; tensor data is not touched.
 * Stricter than the specification where that one is silent: no repeated names, no lists of lists, no data that overlaps.
 * Throws ERR_WEIGHTS.
 */
export function readHeader(file: string, fileBytes: number, read: ReadBytes): GgufHeader {
  const cursor = new FileCursor(file, fileBytes, read);
  checkMagic(file, fileBytes, read);
  cursor.skip(4, "the magic number");
  checkVersion(file, cursor.uint32("the version"));
  const tensorCount = cursor.count(MAX_TENSORS, "the number of tensors");
  const keyCount = cursor.count(MAX_KEYS, "the number of keys");
  const metadata = new Map<string, StoredValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string(`key ${i}`);
    if (metadata.has(key)) rejectFile(file, `key ${JSON.stringify(key)}: expected it once, got it again`, damaged);
    metadata.set(key, readValue(cursor, file, key));
  }
  const alignment = alignmentOf(file, metadata);
  const infos = new Map<string, TensorInfo>();
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.string(`the name of tensor ${i}`);
    if (infos.has(name)) rejectFile(file, `tensor ${JSON.stringify(name)}: expected it once, got it again`, damaged);
    infos.set(name, readTensorInfo(cursor, file, name, alignment));
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map([...infos].map(([name, info]) => [name, { ...info, offset: dataStart + info.offset }]));
  checkLayout(file, tensors, fileBytes);
  return { metadata, tensors };
}

function checkMagic(file: string, fileBytes: number, read: ReadBytes): void {
  const start = Buffer.from(read(0, Math.min(fileBytes, 24))).toString("latin1");
  if (start.startsWith("version https://git-lfs")) {
    rejectFile(file, "this is a Git LFS pointer, not the weights", "run `git lfs pull` in its directory");
  }
  if (start.startsWith("GGUF")) return;
  const isOlder = /^(lmgg|fmgg|tjgg)/.test(start);
  const got = isOlder ? "a format that ggml had before it" : `${JSON.stringify(start.slice(0, 4))} at its start`;
  rejectFile(file, `expected a file in GGUF, got ${got}`, isOlder ? "convert the model again" : "check the path");
}

function checkVersion(file: string, version: number): void {
  if (versions.includes(version)) return;
  const isSwapped = version !== 0 && version % 65_536 === 0;
  const got = isSwapped ? "a big-endian file" : `version ${version}`;
  const remedy = version === 1 ? "convert the model again" : "this program may be older than the file";
  rejectFile(
    file,
    `expected GGUF of version ${versions.join(" or ")}, got ${got}`,
    isSwapped ? "convert the model for a little-endian machine" : remedy,
  );
}

function alignmentOf(file: string, metadata: ReadonlyMap<string, StoredValue>): number {
  const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (typeof value === "number" && Number.isInteger(Math.log2(value)) && value >= 1 && value <= MAX_ALIGNMENT) {
    return value;
  }
  const expected = `a power of two of at most ${MAX_ALIGNMENT}`;
  return rejectFile(
    file,
    `general.alignment: expected ${expected}, got ${typeof value === "object" ? "a list" : value}`,
    damaged,
  );
}

/** With an offset from the start of the data. */
function readTensorInfo(cursor: FileCursor, file: string, name: string, alignment: number): TensorInfo {
  const what = `tensor ${JSON.stringify(name)}`;
  const fail = (problem: string, remedy = damaged) => rejectFile(file, `${what}: ${problem}`, remedy);
  const rank = cursor.uint32(`${what}: the number of dimensions`);
  if (rank < 1 || rank > MAX_RANK) fail(`expected 1 to ${MAX_RANK} dimensions, got ${rank}`);
  const shape = Array.from({ length: rank }, () => cursor.count(Number.MAX_SAFE_INTEGER, `${what}: a dimension`));
  shape.reverse();
  const id = cursor.uint32(`${what}: the type`);
  const type =
    tensorTypes.get(id) ??
    fail(`expected a type of ${[...tensorTypes.values()].map((known) => known.name).join(", ")}, got number ${id}`);
  const offset = cursor.count(Number.MAX_SAFE_INTEGER, `${what}: the offset`);
  if (offset % alignment !== 0) fail(`expected an offset of a multiple of ${alignment}, got ${offset}`);
  const width = shape.at(-1)!;
  if (width % type.elements !== 0)
    fail(`expected rows of a multiple of ${type.elements} for ${type.name}, got ${width}`);
  let bytes = (width / type.elements) * type.bytes;
  for (const size of shape.slice(0, -1)) bytes *= size;
  if (!Number.isSafeInteger(bytes) || !Number.isSafeInteger(offset + bytes)) {
    fail(`the size of ${type.name} [${shape.join(", ")}] overflows`);
  }
  return { type, shape, offset, bytes };
}

/** Data may have gaps, for alignment, but no byte of it belongs to two tensors, and none is missing. */
function checkLayout(file: string, tensors: ReadonlyMap<string, TensorInfo>, fileBytes: number): void {
  let end = 0;
  let last = "";
  for (const [name, { offset, bytes }] of [...tensors].sort(([, a], [, b]) => a.offset - b.offset)) {
    const what = `tensor ${JSON.stringify(name)}`;
    if (offset + bytes > fileBytes) {
      const problem = `${what}: expected ${bytes} bytes at offset ${offset}, got a file of ${fileBytes}`;
      rejectFile(file, problem, "the file is cut off: download it again");
    }
    if (bytes === 0) continue;
    if (offset < end)
      rejectFile(file, `${what}: expected data of its own, got some of ${JSON.stringify(last)}`, damaged);
    end = offset + bytes;
    last = name;
  }
}
