/** Writes files in GGUF (ggml's docs/gguf.md), version 3 unless told otherwise. */

/** Numbers of the types of values. */
const types = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

export type ValueType = Exclude<keyof typeof types, "array">;
type Value = number | bigint | boolean | string;

/** Numbers of the types of tensors. */
export const tensorTypes = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  IQ4_XS: 23,
  BF16: 30,
} as const;

export type GgufTensorType = keyof typeof tensorTypes;

interface Entry {
  readonly name: string;
  readonly type: GgufTensorType;
  readonly shape: readonly number[];
  readonly data: () => Uint8Array;
  readonly bytes: number;
}

const uint32 = (value: number) => {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(value);
  return data;
};

const uint64 = (value: number | bigint) => {
  const data = Buffer.alloc(8);
  data.writeBigUInt64LE(BigInt(value));
  return data;
};

const string = (text: string) => {
  const data = Buffer.from(text, "utf8");
  return Buffer.concat([uint64(data.length), data]);
};

function encoded(type: ValueType, value: Value): Buffer {
  const data = Buffer.alloc(8);
  switch (type) {
    case "string":
      return string(value as string);
    case "bool":
      return Buffer.from([value ? 1 : 0]);
    case "uint8":
      return data.subarray(0, data.writeUInt8(value as number));
    case "int8":
      return data.subarray(0, data.writeInt8(value as number));
    case "uint16":
      return data.subarray(0, data.writeUInt16LE(value as number));
    case "int16":
      return data.subarray(0, data.writeInt16LE(value as number));
    case "uint32":
      return uint32(value as number);
    case "int32":
      return data.subarray(0, data.writeInt32LE(value as number));
    case "float32":
      return data.subarray(0, data.writeFloatLE(value as number));
    case "uint64":
      return uint64(value as bigint);
    case "int64":
      return data.subarray(0, data.writeBigInt64LE(BigInt(value as number)));
    case "float64":
      return data.subarray(0, data.writeDoubleLE(value as number));
  }
}

export class GgufWriter {
  private readonly keys: Buffer[] = [];
  private readonly entries: Entry[] = [];

  constructor(
    private readonly version = 3,
    private readonly alignment = 32,
  ) {
    if (alignment !== 32) this.key("general.alignment", "uint32", alignment);
  }

  key(name: string, type: ValueType, value: Value): this {
    this.keys.push(Buffer.concat([string(name), uint32(types[type]), encoded(type, value)]));
    return this;
  }

  list(name: string, type: ValueType, values: readonly Value[]): this {
    const head = [string(name), uint32(types.array), uint32(types[type]), uint64(values.length)];
    this.keys.push(Buffer.concat([...head, ...values.map((value) => encoded(type, value))]));
    return this;
  }

  /** `shape`: rows first. Data of `bytes` bytes is asked for when it is written. */
  later(name: string, type: GgufTensorType, shape: readonly number[], bytes: number, data: () => Uint8Array): this {
    this.entries.push({ name, type, shape, data, bytes });
    return this;
  }

  tensor(name: string, type: GgufTensorType, shape: readonly number[], data: ArrayBufferView): this {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return this.later(name, type, shape, bytes.length, () => bytes);
  }

  /** All before the data, and then the data of each tensor in turn. */
  *chunks(): Generator<Uint8Array> {
    const { keys, entries, alignment } = this;
    const padded = (length: number) => Math.ceil(length / alignment) * alignment;
    const head = [Buffer.from("GGUF"), uint32(this.version), uint64(entries.length), uint64(keys.length), ...keys];
    let offset = 0;
    for (const { name, type, shape, bytes } of entries) {
      head.push(string(name), uint32(shape.length), ...shape.toReversed().map(uint64), uint32(tensorTypes[type]));
      head.push(uint64(offset));
      offset += padded(bytes);
    }
    const header = Buffer.concat(head);
    yield header;
    yield Buffer.alloc(padded(header.length) - header.length);
    for (const { data, bytes } of entries) {
      yield data();
      yield Buffer.alloc(padded(bytes) - bytes);
    }
  }

  file(): Buffer {
    return Buffer.concat([...this.chunks()]);
  }
}
