import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { Checkpoint } from "../../src/weights/checkpoint";
import { engineError, makeTestDir, safetensors, type TestDir, vector } from "./files";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

const golden = join(__dirname, "../golden/mamba2");

/** One shard with F32 vectors of one element. */
function shard(...names: string[]): Uint8Array {
  return safetensors(Object.fromEntries(names.map((name, i) => [name, vector(4 * i, 1)])), 4 * names.length);
}

function writeIndex(weightMap: unknown): void {
  dir.write("model.safetensors.index.json", { metadata: { total_size: 8 }, weight_map: weightMap });
}

test("one file", () => {
  const checkpoint = Checkpoint.open(golden);
  expect(checkpoint.names()).toHaveLength(20);
  expect(checkpoint.totalBytes).toBe(2 * 102_860 + 2 * 12);
  const entry = checkpoint.entry("backbone.norm_f.weight");
  expect(entry).toMatchObject({ file: join(golden, "model.safetensors"), dtype: "BF16", shape: [64], bytes: 128 });
  expect(checkpoint.has("lm_head.weight")).toBe(false);
  expect(engineError("ERR_WEIGHTS", () => checkpoint.entry("lm_head.weight")).message).toContain('"lm_head.weight"');
});

test("shards", () => {
  const first = dir.write("model-1.safetensors", shard("a", "left over"));
  const second = dir.write("model-2.safetensors", shard("b"));
  writeIndex({ b: "model-2.safetensors", a: "model-1.safetensors" });
  const checkpoint = Checkpoint.open(dir.path);
  expect(checkpoint.names()).toEqual(["b", "a"]);
  expect(checkpoint.entry("a").file).toBe(first);
  expect(checkpoint.entry("b").file).toBe(second);
  expect(checkpoint.totalBytes).toBe(8);
  expect([...checkpoint.files.keys()]).toEqual([second, first]);
});

test("the first layout found decides", () => {
  dir.write("consolidated.safetensors", shard("c"));
  expect(Checkpoint.open(dir.path).names()).toEqual(["c"]);
  dir.write("shard.safetensors", shard("b"));
  writeIndex({ b: "shard.safetensors" });
  expect(Checkpoint.open(dir.path).names()).toEqual(["b"]);
  dir.write("model.safetensors", shard("a"));
  expect(Checkpoint.open(dir.path).names()).toEqual(["a"]);
});

describe("nothing to load", () => {
  const openMessage = (path: string) => engineError("ERR_WEIGHTS", () => Checkpoint.open(path)).message;

  test("an empty directory: what was looked for is named", () => {
    const message = openMessage(dir.path);
    expect(message).toContain(
      "one of model.safetensors, model.safetensors.index.json, consolidated.safetensors, pytorch_model.bin",
    );
  });

  test("no directory", () => {
    expect(openMessage(join(dir.path, "none"))).toContain("no such directory");
  });

  test("a cut file", () => {
    dir.write("model.safetensors", shard("a").subarray(0, -1));
    expect(openMessage(dir.path)).toContain("cut off");
  });
});

describe("a bad index", () => {
  test.each<[string, unknown, string]>([
    ["a shard that is not there", { a: "gone.safetensors" }, "gone.safetensors: expected this weight file"],
    ["a tensor that its shard lacks", { z: "model-1.safetensors" }, 'expected tensor "z", as model.safetensors.index'],
    ["a shard in the directory above", { a: "../x.safetensors" }, 'got "../x.safetensors"'],
    ["the directory above", { a: ".." }, 'got ".."'],
    ["the directory", { a: "." }, 'got "."'],
    ["an absolute path", { a: "/etc/passwd" }, 'got "/etc/passwd"'],
    ["a path of another system", { a: "C:\\x.safetensors" }, "in the same directory"],
    ["a folder below", { a: "sub/x.safetensors" }, 'got "sub/x.safetensors"'],
    ["an empty name", { a: "" }, 'got ""'],
    ["a name with a zero byte", { a: "x\0.safetensors" }, "in the same directory"],
    ["a number", { a: 1 }, 'the file name of "a", a string'],
    ["a list", ["a"], '"weight_map", an object'],
    ["nothing in it", {}, "got none"],
    ["null", null, '"weight_map", an object'],
  ])("%s", (_, weightMap, fragment) => {
    dir.write("model-1.safetensors", shard("a"));
    writeIndex(weightMap);
    expect(engineError("ERR_WEIGHTS", () => Checkpoint.open(dir.path)).message).toContain(fragment);
  });

  test.each<[string, string | Uint8Array, string]>([
    ["no weight_map", "{}", "no such key"],
    ["an array", "[]", "expected an object"],
    ["no JSON", "{,}", "a key in quotes"],
    ["an empty file", "", "the end of the text"],
    ["a tensor twice", '{"weight_map":{"a":"x","a":"y"}}', 'key "a" occurs twice'],
    ["invalid UTF-8", Buffer.from([0xff]), "cannot be read"],
  ])("%s", (_, text, fragment) => {
    dir.write("model.safetensors.index.json", text);
    expect(engineError("ERR_WEIGHTS", () => Checkpoint.open(dir.path)).message).toContain(fragment);
  });
});

describe("symbolic links", () => {
  const link = (target: string, path: string) => symlinkSync(target, join(dir.path, path));

  test("within the directory", () => {
    const file = dir.write("model/weights.bin", shard("a"));
    link("weights.bin", "model/model.safetensors");
    expect(Checkpoint.open(join(dir.path, "model")).entry("a").file).toBe(file);
  });

  test("to the whole directory", () => {
    const file = dir.write("real/model.safetensors", shard("a"));
    link("real", "alias");
    expect(Checkpoint.open(join(dir.path, "alias")).entry("a").file).toBe(file);
  });

  test("of the hub's cache, from a snapshot to a blob", () => {
    const file = dir.write("blobs/0123", shard("a"));
    mkdirSync(join(dir.path, "snapshots/main"), { recursive: true });
    link("../../blobs/0123", "snapshots/main/model.safetensors");
    expect(Checkpoint.open(join(dir.path, "snapshots/main")).entry("a").file).toBe(file);
  });

  test.each(["../outside.safetensors", "../model-2/x.safetensors"])("out of the directory, to %s", (target) => {
    dir.write("outside.safetensors", shard("a"));
    dir.write("model-2/x.safetensors", shard("a"));
    dir.write("model/model.safetensors.index.json", { weight_map: { a: "x.safetensors" } });
    link(target, "model/x.safetensors");
    const { message } = engineError("ERR_WEIGHTS", () => Checkpoint.open(join(dir.path, "model")));
    expect(message).toContain("got a link to");
  });

  test("in a circle", () => {
    writeIndex({ a: "x.safetensors" });
    link("x.safetensors", "x.safetensors");
    expect(engineError("ERR_WEIGHTS", () => Checkpoint.open(dir.path)).message).toContain("ELOOP");
  });
});
