import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { EngineError } from "../../src/errors";
import { parseSafetensorsHeader, readSafetensorsHeader } from "../../src/weights/safetensors";
import { engineError, makeTestDir, safetensors, type TestDir, vector, withLength } from "./files";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

/** One F32 tensor "x" with some keys replaced, before `dataBytes` of data. */
function oneTensor(changes: object, dataBytes = 8): Uint8Array {
  return safetensors({ x: { ...vector(0, 2), ...changes } }, dataBytes);
}

const tensorText = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';

test("a checkpoint written by another program", () => {
  const file = join(__dirname, "../golden/mamba2/model.safetensors");
  const header = readSafetensorsHeader(file);
  expect(header.tensors.size).toBe(20);
  expect(header.metadata.get("format")).toBe("pt");
  expect(header.fileBytes).toBe(readFileSync(file).length);
  const convolution = header.tensors.get("backbone.layers.0.mixer.conv1d.weight");
  expect(convolution).toMatchObject({ dtype: "BF16", shape: [384, 1, 4], bytes: 3072 });
  const rates = header.tensors.get("backbone.layers.0.mixer.A_log");
  const values = readFileSync(file).subarray(rates!.offset, rates!.offset + rates!.bytes);
  expect(values.readFloatLE(0)).toBeGreaterThan(-1);
  expect(values.readFloatLE(0)).toBeLessThan(4);
  expect(parseSafetensorsHeader(readFileSync(file), "same")).toEqual(header);
});

test.each<[string, Uint8Array, string, number]>([
  ["no tensors", safetensors("{}"), "", 0],
  ["white space after the header", safetensors("{}   \n"), "", 0],
  ["only metadata", safetensors({ __metadata__: { format: "pt" } }), "", 0],
  ["a scalar", oneTensor({ shape: [], data_offsets: [0, 4] }, 4), "x", 4],
  ["an empty tensor", oneTensor({ shape: [0, 3], data_offsets: [0, 0] }, 0), "x", 0],
  ["eight dimensions", oneTensor({ shape: [1, 1, 1, 1, 1, 1, 1, 2] }), "x", 8],
  ["packed 4-bit elements", oneTensor({ dtype: "F4", shape: [4, 2], data_offsets: [0, 4] }, 4), "x", 4],
  ["unknown keys of a tensor", oneTensor({ note: [1.5, { a: null }, "b", true] }), "x", 8],
  ["an escaped name", safetensors(`{"\\u0078":${tensorText}}`, 8), "x", 8],
  ["tensors out of order", safetensors({ b: vector(4, 1), x: vector(0, 1) }, 8), "x", 4],
  ["an empty tensor between two", safetensors({ a: vector(0, 1), x: vector(4, 1), e: vector(4, 0) }, 8), "x", 4],
])("accepts %s", (_, file, name, bytes) => {
  const { tensors, fileBytes } = parseSafetensorsHeader(file, "file");
  expect(tensors.get(name)?.bytes ?? 0).toBe(bytes);
  expect(fileBytes).toBe(file.length);
});

const faults: [string, Uint8Array, string[]][] = [
  ["an empty file", new Uint8Array(0), ["at least 8 bytes, got 0", "download it again"]],
  ["seven bytes", new Uint8Array(7), ["at least 8 bytes, got 7"]],
  ["a header of no bytes", withLength(0n, new Uint8Array(0)), ["start with '{'"]],
  ["a header length of 2^63", withLength(1n << 63n, Buffer.from("{}")), ["at most 100000000", "9223372036854775808"]],
  ["a header length over the limit", withLength(100_000_001n, Buffer.from("{}")), ["got a length of 100000001"]],
  ["a header longer than the file", withLength(99n, Buffer.from("{}")), ["header of 99 bytes", "file of 10 bytes"]],
  ["a Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0"), ["git lfs pull"]],
  ["only white space", safetensors(" ".repeat(1000)), ["start with '{'"]],
  ["a byte order mark", safetensors("\ufeff{}"), ["start with '{'"]],
  ["invalid UTF-8", withLength(6n, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x7d])), ["UTF-8"]],
  ["an array", safetensors("[]"), ["start with '{'"]],
  ["no JSON", safetensors("{x}"), ["expected a key in quotes", '"x}" at character 1']],
  ["a cut header", safetensors('{"x":{"dtype":"F32"'), ["the end of the text"]],
  ["text after the header", safetensors("{} {}"), ["expected the end of the text"]],
  ["a trailing comma", safetensors(`{"x":${tensorText},}`, 8), ["expected a key in quotes"]],
  ["an unclosed string", safetensors('{"x'), ["string at character 2 is not closed"]],
  ["a control character in a string", safetensors('{"a\nb":1}'), ["control character"]],
  ["an invalid escape", safetensors('{"\\x":1}'), ["invalid escape"]],
  ["half of a surrogate pair", safetensors('{"\\ud800":1}'), ["surrogate"]],
  ["nesting without end", safetensors(`{"x":{"note":${"[".repeat(10_000)}`), ["nested more than 64 deep"]],
  ["a repeated tensor", safetensors(`{"x":${tensorText},"x":${tensorText}}`, 8), ['key "x" occurs twice']],
  ["a repeated tensor, escaped", safetensors(`{"x":${tensorText},"\\u0078":${tensorText}}`, 8), ['"x" occurs twice']],
  ["a repeated key of a tensor", safetensors('{"x":{"dtype":"F32","dtype":"F32"}}'), ['key "dtype" occurs twice']],
  ["a tensor that is a number", safetensors('{"x":1}'), ['tensor "x"', "expected an object"]],
  ["metadata that is a tensor", safetensors(`{"__metadata__":${tensorText}}`, 8), ["__metadata__", "a string"]],
  ["metadata with a number", safetensors('{"__metadata__":{"a":1}}'), ["__metadata__", "expected a string, got"]],
  ["no dtype", safetensors('{"x":{"shape":[2],"data_offsets":[0,8]}}', 8), ["got no dtype"]],
  ["no shape", safetensors('{"x":{"dtype":"F32","data_offsets":[0,8]}}', 8), ["got no shape"]],
  ["no offsets", safetensors('{"x":{"dtype":"F32","shape":[2]}}', 8), ["got no data_offsets"]],
  ["an unknown dtype", oneTensor({ dtype: "F12" }), ['tensor "x"', 'got "F12"', "BF16"]],
  ["a dtype that every object has", oneTensor({ dtype: "toString" }), ['got "toString"']],
  ["a dtype that is a number", oneTensor({ dtype: 32 }), ["expected dtype, a string"]],
  ["rank 9", oneTensor({ shape: [1, 1, 1, 1, 1, 1, 1, 1, 2] }), ["at most 8 numbers in shape"]],
  ["a shape that is a number", oneTensor({ shape: 2 }), ["expected shape, an array"]],
  ["a shape with a string", oneTensor({ shape: ["2"] }), ["a number of shape"]],
  ["a negative dimension", oneTensor({ shape: [-2] }), ["a number of shape", "got -2"]],
  ["a fraction", oneTensor({ shape: [0.5] }), ["got 0.5"]],
  ["an exponent", safetensors(`{"x":${tensorText.replace("[2]", "[2e0]")}}`, 8), ["got 2e0"]],
  ["a leading zero", safetensors(`{"x":${tensorText.replace("[2]", "[02]")}}`, 8), ["in shape"]],
  ["a dimension over 2^53", safetensors(`{"x":${tensorText.replace("[2]", "[9007199254740993]")}}`, 8), ["2^53"]],
  ["a size that overflows", oneTensor({ shape: [2 ** 32, 2 ** 32] }), ["overflows"]],
  ["a size that overflows before a zero", oneTensor({ shape: [2 ** 32, 2 ** 32, 0] }), ["overflows"]],
  ["half a byte", oneTensor({ dtype: "F4", shape: [3], data_offsets: [0, 2] }, 2), ["whole bytes", "12 bits"]],
  ["one offset", oneTensor({ data_offsets: [0] }), ["two data_offsets, got 1"]],
  ["three offsets", oneTensor({ data_offsets: [0, 8, 8] }), ["at most 2 numbers in data_offsets"]],
  ["negative offsets", oneTensor({ data_offsets: [-8, 0] }), ["got -8"]],
  ["offsets in the wrong order", oneTensor({ data_offsets: [8, 0] }), ["in order, got [8, 0]"]],
  ["offsets of 2^60", oneTensor({ data_offsets: [2 ** 60, 2 ** 60 + 1024] }), ["2^53"]],
  ["offsets in strings", oneTensor({ data_offsets: ["0", "8"] }), ["a number of data_offsets"]],
  ["fewer bytes than the shape", oneTensor({ shape: [3] }), ["expected 12 bytes for F32 [3], got 8"]],
  ["more bytes than the shape", oneTensor({ shape: [1] }), ["expected 4 bytes for F32 [1], got 8"]],
  ["a hole at the start", oneTensor({ data_offsets: [4, 12] }, 12), ["hole", "offset 0, got 4"]],
  ["a hole", safetensors({ a: vector(0, 1), b: vector(8, 1) }, 12), ['"b" leaves a hole', "offset 4, got 8"]],
  ["an overlap", safetensors({ a: vector(0, 2), b: vector(4, 1) }, 8), ['"b" overlaps', "offset 8, got 4"]],
  ["the same bytes twice", safetensors({ a: vector(0, 1), b: vector(0, 1) }, 4), ["overlaps"]],
  ["data past the end", oneTensor({}, 7), ['tensor "x" being the last', "cut off", "download it again"]],
  ["data without a tensor", oneTensor({}, 9), ['tensor "x" being the last', "damaged"]],
  ["data without any tensor", safetensors("{}", 4), ["no tensors"]],
];

test.each(faults)("rejects %s", (_, file, fragments) => {
  const path = dir.write("bad.safetensors", file);
  const { message } = engineError("ERR_WEIGHTS", () => readSafetensorsHeader(path));
  expect(message.startsWith(path)).toBe(true);
  for (const fragment of fragments) expect(message).toContain(fragment);
});

test("rejects more than 200,000 tensors", () => {
  const names = Array.from({ length: 200_001 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`);
  const file = safetensors(`{${names.join(",")}}`);
  const { message } = engineError("ERR_WEIGHTS", () => parseSafetensorsHeader(file, "file"));
  expect(message).toContain("at most 200000 tensors");
});

test("rejects a header of 100 MB of spaces", () => {
  const file = Buffer.alloc(100_000_008, " ");
  file.writeBigUInt64LE(100_000_000n);
  file.write("{", 8);
  const { message } = engineError("ERR_WEIGHTS", () => parseSafetensorsHeader(file, "file"));
  expect(message).toContain("expected a key in quotes, got the end of the text");
});

test("a name of a megabyte is not repeated in the message", () => {
  const file = safetensors({ ["x".repeat(1_000_000)]: 1 });
  expect(engineError("ERR_WEIGHTS", () => parseSafetensorsHeader(file, "file")).message.length).toBeLessThan(500);
});

test("paths that are no files", () => {
  expect(engineError("ERR_WEIGHTS", () => readSafetensorsHeader(dir.path)).message).toContain("regular file");
  const fifo = join(dir.path, "fifo");
  execFileSync("mkfifo", [fifo]);
  expect(engineError("ERR_WEIGHTS", () => readSafetensorsHeader(fifo)).message).toContain("regular file");
  const missing = join(dir.path, "missing.safetensors");
  expect(engineError("ERR_WEIGHTS", () => readSafetensorsHeader(missing)).message).toContain("ENOENT");
});

/** Either a header whose tensors lie within the file, or ERR_WEIGHTS. */
function expectSound(file: Uint8Array): void {
  try {
    const { tensors } = parseSafetensorsHeader(file, "file");
    for (const { offset, bytes } of tensors.values()) expect(offset + bytes).toBeLessThanOrEqual(file.length);
  } catch (error) {
    if (!EngineError.is(error) || error.code !== "ERR_WEIGHTS") throw error;
  }
}

describe("whatever the bytes, the reader gives a sound header or ERR_WEIGHTS", () => {
  const valid = safetensors(
    { __metadata__: { format: "pt" }, a: vector(0, 3), b: { dtype: "BF16", shape: [2, 2], data_offsets: [12, 20] } },
    20,
  );

  test("random bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), expectSound), { numRuns: 1000 });
  });

  test("random bytes as a header", () => {
    const header = fc.uint8Array({ maxLength: 100 });
    fc.assert(
      fc.property(header, (bytes) => expectSound(withLength(BigInt(bytes.length), bytes))),
      { numRuns: 1000 },
    );
  });

  test("random JSON as a header", () => {
    const run = (json: string, data: number) => expectSound(safetensors(json, data));
    fc.assert(fc.property(fc.json(), fc.nat(64), run), { numRuns: 1000 });
  });

  test("a valid file with bytes changed, removed and added", () => {
    const edit = fc.record({ at: fc.nat(valid.length), remove: fc.nat(3), insert: fc.uint8Array({ maxLength: 3 }) });
    const run = (edits: { at: number; remove: number; insert: Uint8Array }[]) => {
      let file = valid;
      for (const { at, remove, insert } of edits) {
        file = Buffer.concat([file.subarray(0, at), insert, file.subarray(at + remove)]);
      }
      expectSound(file);
    };
    fc.assert(fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), run), { numRuns: 1000 });
  });

  test("a valid header with a value replaced", () => {
    const value = fc.oneof(fc.jsonValue(), fc.integer(), fc.double(), fc.constantFrom(2 ** 53, -1, 0, 1e300));
    const key = fc.constantFrom("dtype", "shape", "data_offsets");
    const run = (changed: string, replacement: unknown) => expectSound(oneTensor({ [changed]: replacement }));
    fc.assert(fc.property(key, value, run), { numRuns: 1000 });
  });
});
