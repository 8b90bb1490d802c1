/** Archives as torch.save writes them, and such as it never would. */

export interface ArchivedFile {
  readonly name: string;
  readonly content: Buffer;
  /** What the directory says of it instead of the truth. */
  readonly method?: number;
  readonly flags?: number;
  readonly bytes?: number;
  readonly offset?: number;
}

/** A ZIP archive with its files as they are. */
export function zipOf(files: readonly ArchivedFile[], count = files.length): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, content, method = 0, flags = 0, bytes = content.length, offset = at } of files) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(flags, 8);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(bytes, 20);
    entry.writeUInt32LE(bytes, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    parts.push(local, Buffer.from(name), content);
    directory.push(entry, Buffer.from(name));
    at += 30 + name.length + content.length;
  }
  const entries = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(entries.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, entries, end]);
}

export const protocol = Buffer.from([0x80, 2]);
export const stop = Buffer.from(".");
export const mark = Buffer.from("(");
export const emptyDict = Buffer.from("}");
export const setItems = Buffer.from("u");
export const tuple = Buffer.from("t");
export const reduce = Buffer.from("R");
export const build = Buffer.from("b");
export const falsity = Buffer.from([0x89]);
export const int = (value: number) => Buffer.from([0x4b, value]);
export const global = (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`);
export function text(value: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(Buffer.byteLength(value));
  return Buffer.concat([Buffer.from("X"), length, Buffer.from(value)]);
}

const storage = (type: string, key: string, numel: number) =>
  Buffer.concat([
    mark,
    text("storage"),
    global("torch", type),
    text(key),
    text("cpu"),
    int(numel),
    tuple,
    Buffer.from("Q"),
  ]);
const ints = (values: readonly number[]) => Buffer.concat([mark, ...values.map(int), tuple]);

export interface PickledTensor {
  readonly type?: string;
  readonly key?: string;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
}

/** Six floats, unless something else is said. */
export function tensor({
  type = "FloatStorage",
  key = "0",
  offset = 0,
  shape = [2, 3],
  strides = [3, 1],
}: PickledTensor = {}) {
  const call = global("torch._utils", "_rebuild_tensor_v2");
  const hooks = Buffer.concat([global("collections", "OrderedDict"), Buffer.from(")"), reduce]);
  const args = [storage(type, key, 6), int(offset), ints(shape), ints(strides), falsity, hooks];
  return Buffer.concat([call, mark, ...args, tuple, reduce]);
}

/** A pickle of a dict. */
export const dictOf = (...items: readonly Buffer[]) =>
  Buffer.concat([protocol, emptyDict, mark, ...items, setItems, stop]);

export function torchFile(
  pickle: Buffer,
  others: readonly ArchivedFile[] = [{ name: "a/data/0", content: Buffer.alloc(24) }],
) {
  return zipOf([{ name: "a/data.pkl", content: pickle }, ...others]);
}
