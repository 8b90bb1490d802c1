import { quoted } from "./json-cursor";
import { Dict, Global, type PickleMeaning, type PickleValue, readPickle, Tuple } from "./pickle";
import {
  bytesOf,
  maxRank,
  maxTensors,
  type SafetensorsDtype,
  type TensorEntry,
  type WeightHeader,
} from "./safetensors";
import { type ReadBytes, rejectFile, withWeightFile } from "./weight-file";
import { readZip, type StoredFile } from "./zip";

/** PyTorch's classes of storages, by the element types that they hold. */
const storageDtypes: Readonly<Record<string, SafetensorsDtype>> = {
  "torch.DoubleStorage": "F64",
  "torch.FloatStorage": "F32",
  "torch.HalfStorage": "F16",
  "torch.BFloat16Storage": "BF16",
  "torch.LongStorage": "I64",
  "torch.IntStorage": "I32",
  "torch.ShortStorage": "I16",
  "torch.CharStorage": "I8",
  "torch.ByteStorage": "U8",
  "torch.BoolStorage": "BOOL",
};
const REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2";
const REBUILD_PARAMETER = "torch._utils._rebuild_parameter";
const ORDERED_DICT = "collections.OrderedDict";
const known = new Set([...Object.keys(storageDtypes), REBUILD_TENSOR, REBUILD_PARAMETER, ORDERED_DICT]);

const maxPickleBytes = 100_000_000;
const resave = "save the state dict again with torch.save, or as safetensors";

/** Elements in a file of the archive. */
class Storage {
  constructor(
    readonly dtype: SafetensorsDtype,
    readonly file: StoredFile,
  ) {}
}
class Tensor {
  constructor(readonly entry: TensorEntry) {}
}

/**
 * Reads where the tensors of a PyTorch checkpoint lie, a `.bin` as torch.save writes a state dict since version 1.6: a ZIP archive with
 * the elements as they are, and a pickle of their names and shapes. Nothing of the pickle is run, and tensor data is not touched. What
 * is no dict of dense tensors is refused by its name. Throws ERR_WEIGHTS.
 */
export function readTorchHeader(path: string): WeightHeader {
  return withWeightFile(path, (fileBytes, read) => readArchive(path, fileBytes, read));
}

function readArchive(path: string, fileBytes: number, read: ReadBytes): WeightHeader {
  const fail = (message: string): never => rejectFile(path, message, `download it again, or ${resave}`);
  const files = readZip(fileBytes, read, fail);
  const pickles = [...files.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) fail(`expected one data.pkl in it, got ${pickles.length}`);
  const folder = pickles[0]!.slice(0, -"data.pkl".length);
  const contentOf = ({ offset, bytes }: StoredFile) => Buffer.from(read(offset, bytes));
  const byteorder = files.get(`${folder}byteorder`);
  if (byteorder !== undefined && (byteorder.bytes !== 6 || contentOf(byteorder).toString() !== "little")) {
    fail("expected little-endian elements, got others");
  }
  const pickle = files.get(pickles[0]!)!;
  if (pickle.bytes > maxPickleBytes) fail(`data.pkl has ${pickle.bytes} bytes, more than ${maxPickleBytes}`);
  const inPickle = (message: string): never => fail(`data.pkl: ${message}`);
  const root = readPickle(contentOf(pickle), meaningIn(files, folder, inPickle), inPickle);
  return { tensors: tensorsOf(root, inPickle), fileBytes };
}

function tensorsOf(root: PickleValue, fail: (message: string) => never): ReadonlyMap<string, TensorEntry> {
  if (!(root instanceof Dict)) return fail(`expected a dict of tensors, got ${describe(root)}`);
  const tensors = new Map<string, TensorEntry>();
  for (const [name, value] of root.entries) {
    if (typeof name !== "string") return fail(`expected names of tensors, got ${describe(name)}`);
    const tensor = madeOf(value, Tensor);
    if (tensor === null) return fail(`${quoted(name)}: expected a tensor, got ${describe(value)}`);
    tensors.set(name, tensor.entry);
  }
  if (tensors.size > maxTensors) fail(`expected at most ${maxTensors} tensors, got ${tensors.size}`);
  return tensors;
}

function meaningIn(
  files: ReadonlyMap<string, StoredFile>,
  folder: string,
  fail: (message: string) => never,
): PickleMeaning {
  return {
    global: (name) =>
      known.has(name) ? new Global(name) : fail(`it names ${quoted(name)}, which a state dict has no use for`),
    persistent: (id) => {
      const [kind, type, key] = id instanceof Tuple ? id.items : [];
      const dtype = type instanceof Global ? storageDtypes[type.name] : undefined;
      if (kind !== "storage" || dtype === undefined || typeof key !== "string") return fail("it refers to no storage");
      const file = files.get(`${folder}data/${key}`);
      return file === undefined
        ? fail(`expected the elements ${quoted(key)}, got none`)
        : { made: new Storage(dtype, file) };
    },
    call: ({ name }, { items }) => {
      if (name === ORDERED_DICT && items.length === 0) return new Dict();
      if (name === REBUILD_PARAMETER && madeOf(items[0], Tensor) !== null) return items[0]!;
      if (name === REBUILD_TENSOR) return { made: new Tensor(rebuilt(items, fail)) };
      return fail(`it calls ${quoted(name)} with what that does not take`);
    },
  };
}

/** A tensor of its storage, the offset of its first element, its sizes and its strides; what else there is says nothing of these. */
function rebuilt(items: readonly PickleValue[], fail: (message: string) => never): TensorEntry {
  const storage = madeOf(items[0], Storage);
  const [start, shape, strides] = [items[1], integers(items[2]), integers(items[3])];
  if (storage === null || !isSize(start) || shape === null || strides === null || shape.length !== strides.length) {
    return fail("a tensor's storage, offset, sizes or strides are none");
  }
  if (shape.length > maxRank) fail(`expected at most ${maxRank} dimensions, got ${shape.length}`);
  const { dtype, file } = storage;
  const bytes = bytesOf(dtype, shape, fail);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0 && bytes > 0; i--) {
    if (shape[i] !== 1 && strides[i] !== stride) {
      fail(`a tensor of the sizes ${shape} has the strides ${strides}: expected a contiguous one`);
    }
    stride *= shape[i]!;
  }
  const offset = start * bytesOf(dtype, [1], fail);
  if (offset + bytes > file.bytes) fail(`a tensor of ${bytes} bytes at ${offset} lies outside its ${file.bytes} bytes`);
  return { dtype, shape, offset: file.offset + offset, bytes };
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function integers(value: PickleValue | undefined): number[] | null {
  return value instanceof Tuple && value.items.every(isSize) ? (value.items as number[]) : null;
}

function madeOf<T>(value: PickleValue | undefined, type: abstract new (...args: never[]) => T): T | null {
  const made = typeof value === "object" && value !== null && "made" in value ? value.made : null;
  return made instanceof type ? made : null;
}

function describe(value: PickleValue): string {
  if (value === null || typeof value === "boolean" || typeof value === "number") return String(value);
  if (typeof value === "string") return quoted(value);
  if (value instanceof Global) return value.name;
  return value instanceof Tuple ? "a tuple" : value instanceof Dict ? "a dict" : "a list or another object";
}
