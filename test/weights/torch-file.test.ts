/** PyTorch's own files against their safetensors, and files that would have a reader run something or read what is not there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Checkpoint } from "../../src/weights/checkpoint";
import { readTorchHeader } from "../../src/weights/torch-file";
import { engineError, makeTestDir, type TestDir } from "./files";
import {
  build,
  dictOf,
  emptyDict,
  global,
  int,
  mark,
  protocol,
  reduce,
  stop,
  tensor,
  text,
  torchFile,
  tuple,
  zipOf,
} from "./torch-archive";

const golden = join(__dirname, "..", "golden");
const written = (name: string) => join(golden, "torch", name);

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

const refusal = (file: Buffer) =>
  engineError("ERR_WEIGHTS", () => readTorchHeader(dir.write("pytorch_model.bin", file))).message;

describe("what torch.save wrote", () => {
  test("has the tensors of the same model's safetensors, byte for byte", () => {
    const [torch, safetensors] = [Checkpoint.open(join(golden, "torch")), Checkpoint.open(join(golden, "mamba2"))];
    expect(torch.names().sort()).toEqual(safetensors.names().sort());
    const content = (checkpoint: Checkpoint, name: string) => {
      const { file, offset, bytes, dtype, shape } = checkpoint.entry(name);
      return {
        dtype,
        shape,
        data: readFileSync(file)
          .subarray(offset, offset + bytes)
          .toString("hex"),
      };
    };
    for (const name of torch.names()) expect(content(torch, name)).toEqual(content(safetensors, name));
  });

  test("types, views of shared elements, parameters, a scalar and an empty one", () => {
    const { tensors } = readTorchHeader(written("mixed.bin"));
    const file = readFileSync(written("mixed.bin"));
    const floats = (name: string) => {
      const { offset, bytes } = tensors.get(name)!;
      return Array.from({ length: bytes / 4 }, (_, i) => file.readFloatLE(offset + 4 * i));
    };
    expect(floats("weight")).toEqual([0, 1, 2, 3, 4, 5]);
    expect(floats("whole")).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(floats("view")).toEqual([4, 5, 6, 7, 8, 9]);
    expect(floats("row")).toEqual([4, 5, 6, 7]);
    expect([floats("parameter"), floats("scalar"), floats("empty")]).toEqual([[7], [5], []]);
    const types = { float64: "F64", float16: "F16", bfloat16: "BF16", int64: "I64", int32: "I32", int16: "I16" };
    for (const [name, dtype] of Object.entries({ ...types, int8: "I8", uint8: "U8", bool: "BOOL" })) {
      expect(tensors.get(name)).toMatchObject({ dtype, shape: [3] });
    }
  });

  test("shards, as their index names them", () => {
    dir.write("pytorch_model-00001-of-00002.bin", torchFile(dictOf(text("a"), tensor())));
    dir.write("pytorch_model-00002-of-00002.bin", torchFile(dictOf(text("b"), tensor())));
    const weight_map = { a: "pytorch_model-00001-of-00002.bin", b: "pytorch_model-00002-of-00002.bin" };
    dir.write("pytorch_model.bin.index.json", { weight_map });
    expect(Checkpoint.open(dir.path).names()).toEqual(["a", "b"]);
  });

  test("a transposed tensor, and one beside an object, are refused by what is wrong", () => {
    const message = (name: string) => engineError("ERR_WEIGHTS", () => readTorchHeader(written(name))).message;
    expect(message("strided.bin")).toContain("expected a contiguous one");
    expect(message("object.bin")).toContain('it names "pathlib.PosixPath"');
  });
});

const named = Buffer.concat([global("os", "system"), mark, text("touch /tmp/x"), tuple, reduce]);
const call = (...parts: Buffer[]) => Buffer.concat([protocol, ...parts, stop]);
const rebuild = global("torch._utils", "_rebuild_tensor_v2");

test.each<[string, Buffer, string]>([
  ["a call of os.system", call(named), 'it names "os.system"'],
  ["one in a value", dictOf(text("a"), named), 'it names "os.system"'],
  ["builtins.eval", call(global("builtins", "eval")), 'it names "builtins.eval"'],
  [
    "a name of another module that ends alike",
    call(global("x.torch", "FloatStorage")),
    'it names "x.torch.FloatStorage"',
  ],
  ["a name with its module's dots in the name", call(global("torch", "_utils._rebuild_tensor_v2.x")), "it names"],
  ["an object made by its class", call(emptyDict, Buffer.from([0x81])), "opcode 0x81"],
  ["an instance of protocol 0", call(Buffer.from("(ios\nsystem\n")), "opcode 0x69"],
  ["an extension", call(Buffer.from([0x82, 1])), "opcode 0x82"],
  ["a stacked global of protocol 4", call(text("os"), text("system"), Buffer.from([0x93])), "opcode 0x93"],
  ["protocol 4", Buffer.from([0x80, 4, 0x4e, 0x2e]), "expected pickle protocol 2"],
  ["attributes of what is no dict", call(int(1), emptyDict, build), "what is no dict"],
  [
    "a call of a class of elements",
    call(global("torch", "FloatStorage"), mark, tuple, reduce),
    "with what that does not take",
  ],
  [
    "a call with too little",
    call(rebuild, mark, tuple, reduce),
    "a tensor's storage, offset, sizes or strides are none",
  ],
  ["a call of a number", call(int(1), mark, tuple, reduce), "it calls what is no function"],
  ["elements that are not there", dictOf(text("a"), tensor({ key: "1" })), 'expected the elements "1", got none'],
  ["elements of another folder", dictOf(text("a"), tensor({ key: "../data.pkl" })), "got none"],
  ["elements of an unknown type", dictOf(text("a"), tensor({ type: "UntypedStorage" })), "torch.UntypedStorage"],
  ["more elements than there are", dictOf(text("a"), tensor({ shape: [3, 3] })), "lies outside its 24 bytes"],
  ["elements behind the last", dictOf(text("a"), tensor({ offset: 1 })), "lies outside its 24 bytes"],
  ["strides that repeat", dictOf(text("a"), tensor({ strides: [0, 1] })), "expected a contiguous one"],
  [
    "a huge tensor",
    dictOf(text("a"), tensor({ shape: [255, 255, 255, 255, 255, 255, 255, 255], strides: [1, 1, 1, 1, 1, 1, 1, 1] })),
    "overflows",
  ],
  ["nine dimensions", dictOf(text("a"), tensor({ shape: Array(9).fill(1), strides: Array(9).fill(1) })), "at most 8"],
  ["a name that is none", dictOf(int(1), tensor()), "expected names of tensors, got 1"],
  ["a value that is none", dictOf(text("a"), int(1)), '"a": expected a tensor, got 1'],
  ["a key alone", dictOf(text("a")), "a key without a value"],
  ["a number in place of a dict", call(int(1)), "expected a dict of tensors, got 1"],
  ["values that are left over", call(int(1), int(1)), "it does not end where its value does"],
  ["bytes that are left over", Buffer.concat([dictOf(), int(1)]), "it does not end where its value does"],
  ["no end", protocol, "it ends in the middle of an opcode"],
  [
    "a text that is longer than the file",
    Buffer.concat([protocol, Buffer.from("X\xff\xff\xff\x7f", "latin1")]),
    "in the middle",
  ],
  ["a value that was never remembered", call(Buffer.from("h\x05")), "it recalls what it never remembered"],
  ["a mark that is not there", call(tuple), "a mark that is not there"],
  ["an integer of nine bytes", call(Buffer.from([0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1])), "an integer of 9 bytes"],
])("a pickle with %s is refused", (_, pickle, message) => {
  expect(refusal(torchFile(pickle))).toContain(message);
});

const pickle = dictOf(text("a"), tensor());
const data = { name: "a/data/0", content: Buffer.alloc(24) };
const file = { name: "a/data.pkl", content: pickle };

test.each<[string, Buffer, string]>([
  ["nothing", Buffer.alloc(0), "no end of a ZIP archive"],
  [
    "a file of PyTorch before 1.6",
    Buffer.from("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "latin1"),
    "written by PyTorch before 1.6",
  ],
  ["one that is cut off", zipOf([file, data]).subarray(0, -30), "no end of a ZIP archive"],
  ["no pickle", zipOf([data]), "expected one data.pkl in it, got 0"],
  ["two pickles", zipOf([file, { ...file, name: "b/data.pkl" }]), "expected one data.pkl in it, got 2"],
  ["a name twice", zipOf([file, data, data]), '"a/data/0" is in it twice'],
  ["a compressed file", zipOf([file, { ...data, method: 8 }]), "is compressed"],
  ["an encrypted file", zipOf([file, { ...data, flags: 1 }]), "is encrypted"],
  ["a file that reaches past the end", zipOf([file, { ...data, bytes: 1 << 30 }]), "lies outside the file"],
  ["a file at no header", zipOf([file, { ...data, offset: 1 }]), "is damaged"],
  ["a file outside", zipOf([file, { ...data, offset: 1 << 30 }]), "lies outside the file"],
  ["fewer entries than it says", zipOf([file, data], 3), "entry 2 of its directory is damaged"],
  ["sizes in an extra field that is not there", zipOf([file, { ...data, bytes: 0xffffffff }]), "are damaged"],
  ["big-endian elements", zipOf([file, data, { name: "a/byteorder", content: Buffer.from("big") }]), "little-endian"],
])("an archive with %s is refused", (_, archive, message) => {
  expect(refusal(archive)).toContain(message);
});

test("an archive that is as it should be is read", () => {
  const { tensors } = readTorchHeader(dir.write("x.bin", zipOf([file, data])));
  expect(tensors.get("a")).toMatchObject({ dtype: "F32", shape: [2, 3], bytes: 24 });
});
