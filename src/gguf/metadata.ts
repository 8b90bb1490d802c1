import { type ReadBytes, rejectFile } from "../weights/weight-file";
import { FileCursor } from "./file-cursor";

export type Scalar = number | bigint | boolean | string;

/** A list in a file, which is read when it is asked for: vocabularies have hundreds of thousands of strings. */
export interface StoredList {
  readonly type: number;
  readonly count: number;
  /** Where the first element lies. */
  readonly offset: number;
}

export type StoredValue = Scalar | StoredList;

const STRING = 8;
const LIST = 9;
const MAX_STRINGS = 1 << 24;
const MAX_NUMBERS = 1 << 28;

type Read = (bytes: Buffer) => Scalar;

/** Integers of 64 bits are numbers where these are exact. */
const exact = (value: bigint): number | bigint => (BigInt.asIntN(54, value) === value ? Number(value) : value);

/** The shortest decimal number that a float is nearest to: what a config said before it was converted. */
function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}

/** Types of fixed size by their numbers (ggml's gguf.md). */
const fixed: Readonly<Record<number, readonly [bytes: number, read: Read]>> = {
  0: [1, (bytes) => bytes.readUInt8()],
  1: [1, (bytes) => bytes.readInt8()],
  2: [2, (bytes) => bytes.readUInt16LE()],
  3: [2, (bytes) => bytes.readInt16LE()],
  4: [4, (bytes) => bytes.readUInt32LE()],
  5: [4, (bytes) => bytes.readInt32LE()],
  6: [4, (bytes) => shortest(bytes.readFloatLE())],
  7: [1, (bytes) => bytes.readUInt8() !== 0],
  10: [8, (bytes) => exact(bytes.readBigUInt64LE())],
  11: [8, (bytes) => exact(bytes.readBigInt64LE())],
  12: [8, (bytes) => bytes.readDoubleLE()],
};

export function isList(value: StoredValue | undefined): value is StoredList {
  return typeof value === "object";
}

/** The value of a key, whose type comes first. Lists are passed over. */
export function readValue(cursor: FileCursor, file: string, key: string): StoredValue {
  const type = cursor.uint32(`the type of ${key}`);
  if (type === STRING) return cursor.string(key);
  if (type !== LIST) {
    const [bytes, read] = fixed[type] ?? rejectType(file, key, type);
    return read(cursor.bytes(bytes, key));
  }
  const of = cursor.uint32(`the type of the elements of ${key}`);
  const count = cursor.count(of === STRING ? MAX_STRINGS : MAX_NUMBERS, `the length of ${key}`);
  const list = { type: of, count, offset: cursor.position };
  if (of === STRING) for (let i = 0; i < count; i++) cursor.skipString(`${key}[${i}]`);
  else cursor.skip(count * (fixed[of] ?? rejectType(file, `${key}[]`, of))[0], key);
  return list;
}

/** The elements of a list that readValue() has passed over. */
export function readList(
  file: string,
  fileBytes: number,
  read: ReadBytes,
  key: string,
  { type, count, offset }: StoredList,
): Scalar[] {
  const cursor = new FileCursor(file, fileBytes, read, offset);
  if (type === STRING) return Array.from({ length: count }, (_, i) => cursor.string(`${key}[${i}]`));
  const [bytes, element] = fixed[type] ?? rejectType(file, key, type);
  return Array.from({ length: count }, () => element(cursor.bytes(bytes, key)));
}

function rejectType(file: string, key: string, type: number): never {
  const got = type === LIST ? "a list of lists" : `number ${type}`;
  return rejectFile(file, `${key}: expected a type of GGUF's values, got ${got}`, "convert the file again");
}
