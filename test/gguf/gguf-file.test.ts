/** What ggml's own package wrote (scripts/golden/make_gguf.py), files of several parts, and files that are to be refused. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { EngineError } from "../../src/errors";
import { GgufFile, isGguf } from "../../src/gguf/gguf-file";
import { GgufWriter } from "../helpers/gguf-writer";
import { engineError, makeTestDir, type TestDir } from "../weights/files";

const golden = join(__dirname, "..", "golden", "gguf", "blocks.gguf");

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

describe("the reference's file", () => {
  const file = GgufFile.open(golden);

  test("values of every type", () => {
    const values = Object.fromEntries(
      file
        .keys()
        .filter((key) => key.startsWith("test."))
        .map((key) => [key.slice(5), file.value(key)]),
    );
    expect(values).toEqual({
      ...{ uint8: 200, int8: -100, uint16: 60_000, int16: -30_000, uint32: 4_000_000_000, int32: -2_000_000_000 },
      ...{ float32: 0.5, float64: 1e300, bool: true, string: "naïve ▁" },
      ...{ uint64: Number.MAX_SAFE_INTEGER, int64: -Number.MAX_SAFE_INTEGER },
      ...{ strings: ["a", "", "ü"], numbers: [1, -2, 3] },
    });
    expect(file.value("test.none")).toBeUndefined();
    expect(file.text("test.string")).toBe("naïve ▁");
    expect(file.text("test.uint8")).toBeUndefined();
  });

  test("tensors, rows first, with the bytes of their blocks", () => {
    expect(file.tensor("Q4_K")).toMatchObject({ shape: [2, 256], bytes: 288, type: { name: "Q4_K" }, file: golden });
    const { offset, bytes } = file.tensor(file.names().at(-1)!)!;
    expect(offset + bytes).toBeLessThanOrEqual(file.files.get(golden)!.bytes);
    expect(file.totalBytes).toBe(file.names().reduce((sum, name) => sum + file.tensor(name)!.bytes, 0));
  });
});

const tiny = () =>
  new GgufWriter()
    .key("general.architecture", "string", "mamba2")
    .list("words", "string", ["a", "b"])
    .list("sizes", "uint32", [1, 2])
    .tensor("x", "F32", [2, 3], new Float32Array(6))
    .tensor("y", "Q8_0", [1, 32], new Uint8Array(34));

test("version 2, and another alignment", () => {
  const file = (writer: GgufWriter) =>
    GgufFile.open(dir.write("a.gguf", writer.tensor("x", "F32", [3], Float32Array.of(1, 2, 3)).file()));
  for (const written of [new GgufWriter(2), new GgufWriter(3, 64)]) {
    const { offset, bytes, shape } = file(written).tensor("x")!;
    expect({ bytes, shape }).toEqual({ bytes: 12, shape: [3] });
    expect(readFileSync(join(dir.path, "a.gguf")).readFloatLE(offset + 4)).toBe(2);
  }
});

test("a float is the decimal number that it was", () => {
  const values = [1e-5, 0.1, 10_000, 1 / 3, 0.22, 1_000_000, 3.4e38];
  const file = GgufFile.open(dir.write("a.gguf", new GgufWriter().list("x", "float32", values).file()));
  expect(file.value("x")).toEqual(values.map((value) => (value === 1 / 3 ? 0.33333334 : value)));
});

test("integers of 64 bits beyond those that numbers hold", () => {
  const most = 2n ** 64n - 1n;
  const file = GgufFile.open(dir.write("a.gguf", new GgufWriter().key("x", "uint64", most).file()));
  expect(file.value("x")).toBe(most);
});

describe("isGguf", () => {
  test.each([
    ["a.gguf", "anything", true],
    ["sha256-0123", "GGUF and more", true],
    ["model.bin", "GGU", false],
    ["empty", "", false],
  ])("%s", (name, content, expected) => {
    expect(isGguf(dir.write(name, content))).toBe(expected);
  });

  test("is false of a path without a file, and of a directory", () => {
    dir.write("x.gguf/readme", "");
    expect([isGguf(join(dir.path, "none.gguf")), isGguf(join(dir.path, "x.gguf"))]).toEqual([false, false]);
  });
});

describe("several parts", () => {
  const part = (i: number, count: number, tensor: string) =>
    new GgufWriter()
      .key("split.no", "uint16", i)
      .key("split.count", "uint16", count)
      .key("split.tensors.count", "int32", count)
      .tensor(tensor, "F32", [1], Float32Array.of(i))
      .file();
  const nameOf = (i: number, count = 2) => `m-0000${i}-of-0000${count}.gguf`;
  const write = (i: number, tensor: string) => dir.write(nameOf(i), part(i - 1, 2, tensor));

  test("are one model, each tensor in its file", () => {
    const [first, second] = [write(1, "a"), write(2, "b")];
    const file = GgufFile.open(first);
    expect(file.names()).toEqual(["a", "b"]);
    expect([file.tensor("a")!.file, file.tensor("b")!.file]).toEqual([first, second]);
    expect([...file.files.keys()]).toEqual([first, second]);
  });

  test.each<[string, () => string, string]>([
    [
      "not the first",
      () => [write(1, "a"), write(2, "b")][1]!,
      "expected the first of 2 parts, got part 2; give m-00001-of-00002.gguf",
    ],
    ["one missing", () => write(1, "a"), "m-00002-of-00002.gguf: cannot be opened"],
    ["the same tensor twice", () => [write(2, "a"), write(1, "a")][1]!, '"a" is in another part too'],
    ["another name", () => dir.write("m.gguf", part(0, 2, "a")), "expected a name that ends in -00001-of-00002.gguf"],
    [
      "a tensor missing",
      () => {
        dir.write(nameOf(2), new GgufWriter().file());
        return write(1, "a");
      },
      "expected 2 tensors in its 2 parts, got 1",
    ],
  ])("%s", (_, write, fragment) => {
    expect(engineError("ERR_WEIGHTS", () => GgufFile.open(write())).message).toContain(fragment);
  });
});

describe("refused", () => {
  const uint32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
  const uint64 = (value: bigint) => Buffer.from(BigUint64Array.of(value).buffer);
  const string = (text: string | Buffer) => Buffer.concat([uint64(BigInt(text.length)), Buffer.from(text)]);
  const head = (tensors: bigint, keys: bigint, version = 3) => [
    Buffer.from("GGUF"),
    uint32(version),
    uint64(tensors),
    uint64(keys),
  ];
  const info = (dims: readonly bigint[], type: number, offset: bigint) => [
    ...[string("x"), uint32(dims.length), ...dims.map(uint64), uint32(type), uint64(offset)],
  ];
  const max = 2n ** 64n - 1n;

  const rows: readonly (readonly [string, readonly Buffer[], string])[] = [
    ["nothing", [], 'expected a file in GGUF, got "" at its start'],
    ["another format", [Buffer.from("PK\x03\x04")], "expected a file in GGUF, got"],
    ["what ggml had before", [Buffer.from("tjgg0000")], "a format that ggml had before it"],
    ["a Git LFS pointer", [Buffer.from("version https://git-lfs.github.com/spec/v1\n")], "git lfs pull"],
    ["version 1", head(0n, 0n, 1), "expected GGUF of version 2 or 3, got version 1; convert the model again"],
    ["version 4", head(0n, 0n, 4), "got version 4; this program may be older"],
    ["big-endian", head(0n, 0n, 0x03000000), "got a big-endian file"],
    ["cut off in the counts", head(0n, 0n).slice(0, 3), "the number of keys: expected 8 bytes at offset 16"],
    ["too many tensors", head(max, 0n), "the number of tensors: expected at most 200000, got 18446744073709551615"],
    ["too many keys", head(0n, max), "the number of keys: expected at most 65536"],
    ["a key longer than the file", [...head(0n, 1n), uint64(1000n)], "key 0: expected 1000 bytes at offset 32"],
    ["a key longer than anything", [...head(0n, 1n), uint64(max)], "the length of key 0: expected at most 16777216"],
    ["a key in other bytes", [...head(0n, 1n), string(Buffer.of(0xff)), uint32(4), uint32(0)], "key 0: expected UTF-8"],
    [
      "an unknown type of value",
      [...head(0n, 1n), string("k"), uint32(13)],
      "k: expected a type of GGUF's values, got number 13",
    ],
    ["a list of lists", [...head(0n, 1n), string("k"), uint32(9), uint32(9), uint64(1n)], "got a list of lists"],
    [
      "a list longer than the file",
      [...head(0n, 1n), string("k"), uint32(9), uint32(4), uint64(1_000_000n)],
      "k: expected 4000000 bytes",
    ],
    [
      "a list of more strings than the file has",
      [...head(0n, 1n), string("k"), uint32(9), uint32(8), uint64(1_000_000n), string("a")],
      "the length of k[1]: expected 8 bytes",
    ],
    [
      "a list of more than anything",
      [...head(0n, 1n), string("k"), uint32(9), uint32(0), uint64(max)],
      "the length of k",
    ],
    [
      "a key twice",
      [...head(0n, 2n), string("k"), uint32(4), uint32(1), string("k"), uint32(4), uint32(1)],
      'key "k": expected it once',
    ],
    [
      "an alignment of 48",
      [...head(0n, 1n), string("general.alignment"), uint32(4), uint32(48)],
      "general.alignment: expected a power of two of at most 1048576, got 48",
    ],
    ["an alignment that is text", [...head(0n, 1n), string("general.alignment"), uint32(8), string("x")], "got x"],
    [
      "a tensor without dimensions",
      [...head(1n, 0n), ...info([], 0, 0n)],
      'tensor "x": expected 1 to 4 dimensions, got 0',
    ],
    ["a tensor of five dimensions", [...head(1n, 0n), ...info([1n, 1n, 1n, 1n, 1n], 0, 0n)], "got 5"],
    ["an unknown type of tensor", [...head(1n, 0n), ...info([4n], 4, 0n)], "got number 4"],
    [
      "a row of part of a block",
      [...head(1n, 0n), ...info([33n], 8, 0n)],
      "expected rows of a multiple of 32 for Q8_0, got 33",
    ],
    [
      "an offset between blocks",
      [...head(1n, 0n), ...info([1n], 0, 4n)],
      "expected an offset of a multiple of 32, got 4",
    ],
    ["a size that overflows", [...head(1n, 0n), ...info([2n ** 40n, 2n ** 40n], 0, 0n)], "overflows"],
    ["a dimension that overflows", [...head(1n, 0n), ...info([max], 0, 0n)], "a dimension: expected at most"],
    ["data that is missing", [...head(1n, 0n), ...info([1000n], 0, 0n)], "the file is cut off"],
    ["no data, but beyond the end", [...head(1n, 0n), ...info([0n], 0, 1024n)], "expected 0 bytes at offset"],
    ["a tensor twice", [...head(2n, 0n), ...info([1n], 0, 0n), ...info([1n], 0, 32n)], 'tensor "x": expected it once'],
    [
      "data of two tensors in one place",
      [
        ...head(2n, 0n),
        ...info([1n], 0, 0n),
        string("y"),
        uint32(1),
        uint64(1n),
        uint32(0),
        uint64(0n),
        Buffer.alloc(99),
      ],
      'expected data of its own, got some of "x"',
    ],
  ];

  test.each(rows)("%s", (_, parts, fragment) => {
    const path = dir.write("a.gguf", Buffer.concat(parts));
    const { message } = engineError("ERR_WEIGHTS", () => GgufFile.open(path));
    expect(message).toContain(`${path}: `);
    expect(message).toContain(fragment);
  });

  test("whatever bytes change or are cut off, a file is read or refused", () => {
    const whole = tiny().file();
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: whole.length }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: whole.length - 1 }), fc.integer({ min: 0, max: 255 })), {
          maxLength: 4,
        }),
        (length, changes) => {
          const bytes = Buffer.from(whole);
          for (const [at, value] of changes) bytes[at] = value;
          const path = dir.write("a.gguf", changes.length === 0 ? bytes.subarray(0, length) : bytes);
          try {
            const file = GgufFile.open(path);
            for (const key of file.keys()) file.value(key);
            for (const name of file.names()) {
              const { offset, bytes: size } = file.tensor(name)!;
              expect(offset + size).toBeLessThanOrEqual(bytes.length);
            }
          } catch (error) {
            if (!EngineError.is(error) || error.code !== "ERR_WEIGHTS") throw error;
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});
