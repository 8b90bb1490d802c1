import type { ReadBytes } from "./weight-file";

/** A file in an archive that lies there as it is. */
export interface StoredFile {
  /** From the start of the archive. */
  readonly offset: number;
  readonly bytes: number;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const endBytes = 22;
const maxComment = 0xffff;
const maxDirectoryBytes = 100_000_000;
/** What a field of 32 bits has where the number is in the extra field of ZIP64. */
const IN_EXTRA = 0xffffffff;

/**
 * The files of a ZIP archive by name; their data is not read. Only what PyTorch writes is taken: one disk, nothing compressed or
 * encrypted, no name twice. `fail` throws.
 */
export function readZip(
  fileBytes: number,
  read: ReadBytes,
  fail: (message: string) => never,
): ReadonlyMap<string, StoredFile> {
  const bytesAt = (offset: number, length: number) => {
    const isInside = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= fileBytes;
    return isInside ? Buffer.from(read(offset, length)) : fail(`a part at byte ${offset} lies outside the file`);
  };
  const { offset, length, count } = directoryOf(fileBytes, bytesAt, fail);
  if (length > maxDirectoryBytes) fail(`its directory has ${length} bytes, more than ${maxDirectoryBytes}`);
  const directory = bytesAt(offset, length);
  const files = new Map<string, StoredFile>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > length || directory.readUInt32LE(at) !== ENTRY) fail(`entry ${i} of its directory is damaged`);
    const [nameLength, extraLength] = [directory.readUInt16LE(at + 28), directory.readUInt16LE(at + 30)];
    const next = at + 46 + nameLength + extraLength + directory.readUInt16LE(at + 32);
    if (next > length) fail(`entry ${i} of its directory is damaged`);
    const name = directory.toString("utf8", at + 46, at + 46 + nameLength);
    const described = JSON.stringify(name);
    if (files.has(name)) fail(`${described} is in it twice`);
    if ((directory.readUInt16LE(at + 8) & 1) !== 0) fail(`${described} is encrypted`);
    if (directory.readUInt16LE(at + 10) !== 0) fail(`${described} is compressed, which PyTorch does not do`);
    const extra = directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
    const sizes = [directory.readUInt32LE(at + 24), directory.readUInt32LE(at + 20), directory.readUInt32LE(at + 42)];
    const [bytes, packed, local] = withExtra(sizes, extra, () => fail(`the sizes of ${described} are damaged`));
    if (bytes !== packed) fail(`${described} has two sizes, ${bytes} and ${packed}`);
    files.set(name, { offset: dataOffset(local!, bytesAt, () => fail(`${described} is damaged`)), bytes: bytes! });
    at = next;
  }
  for (const [name, { offset: start, bytes }] of files) {
    if (start + bytes > fileBytes) fail(`${JSON.stringify(name)} lies outside the file`);
  }
  return files;
}

type BytesAt = (offset: number, length: number) => Buffer;

/** Where the directory lies, and how many entries it has. The record that says so is the last of the file, but for a comment. */
function directoryOf(fileBytes: number, bytesAt: BytesAt, fail: (message: string) => never) {
  const tailBytes = Math.min(fileBytes, endBytes + maxComment);
  const tail = bytesAt(fileBytes - tailBytes, tailBytes);
  let at = tail.length - endBytes;
  while (at >= 0 && !(tail.readUInt32LE(at) === END && at + endBytes + tail.readUInt16LE(at + 20) === tail.length)) {
    at -= 1;
  }
  if (at < 0) return fail("it has no end of a ZIP archive: it is cut off, or was written by PyTorch before 1.6");
  const end = {
    count: tail.readUInt16LE(at + 10),
    length: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
  const locatorAt = fileBytes - tailBytes + at - 20;
  if (locatorAt < 0) return end;
  const locator = bytesAt(locatorAt, 20);
  if (locator.readUInt32LE(0) !== LOCATOR_64) return end;
  const end64 = bytesAt(Number(locator.readBigUInt64LE(8)), 56);
  if (end64.readUInt32LE(0) !== END_64) return fail("its ZIP64 directory is damaged");
  const [count, length, offset] = [32, 40, 48].map((field) => Number(end64.readBigUInt64LE(field)));
  return { count: count!, length: length!, offset: offset! };
}

/** Numbers that do not fit 32 bits stand in the extra field, in this order. */
function withExtra(values: readonly number[], extra: Buffer, damaged: () => never): number[] {
  let field: Buffer = Buffer.alloc(0);
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) === 1) field = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2));
  }
  let used = 0;
  return values.map((value) => {
    if (value !== IN_EXTRA) return value;
    if (used + 8 > field.length) return damaged();
    used += 8;
    return Number(field.readBigUInt64LE(used - 8));
  });
}

/** Behind the file's own header, whose name and extra field may have other lengths than in the directory. */
function dataOffset(local: number, bytesAt: BytesAt, damaged: () => never): number {
  const header = bytesAt(local, 30);
  if (header.readUInt32LE(0) !== LOCAL) return damaged();
  return local + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
}
