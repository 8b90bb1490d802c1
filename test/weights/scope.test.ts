import { join } from "node:path";
import { Checkpoint } from "../../src/weights/checkpoint";
import { concatRows } from "../../src/weights/concat-rows";
import { dummiesOf, partsOf } from "../../src/weights/descriptor";
import { type Initial, initial } from "../../src/weights/dummy";
import { equalParts } from "../../src/weights/part";
import { WeightScope } from "../../src/weights/scope";
import { engineError, makeTestDir, safetensors, type TestDir, vector } from "./files";

const golden = join(__dirname, "../golden/mamba2");

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

function scopeOf(header: Record<string, object>, dataBytes: number): WeightScope {
  dir.write("model.safetensors", safetensors(header, dataBytes));
  return WeightScope.ofCheckpoint(Checkpoint.open(dir.path));
}

const bare = (name: string) => name.replace(/^backbone\./, "");

function goldenScope(): WeightScope {
  return WeightScope.ofCheckpoint(Checkpoint.open(golden)).named(bare);
}

test("two names for one tensor are refused", () => {
  const root = scopeOf({ "backbone.norm.weight": vector(0, 1), "norm.weight": vector(4, 1) }, 8);
  const { message } = engineError("ERR_WEIGHTS", () => root.named(bare));
  for (const name of ["backbone.norm.weight", "norm.weight"]) expect(message).toContain(`"${name}"`);
});

test("descriptors point into the file", () => {
  const checkpoint = Checkpoint.open(golden);
  const mixer = WeightScope.ofCheckpoint(checkpoint).named(bare).scope("layers").scope(1).scope("mixer");
  const { file, offset, bytes } = checkpoint.entry("backbone.layers.1.mixer.in_proj.weight");
  expect(mixer.tensor("in_proj.weight", [514, 64])).toEqual({
    name: "layers.1.mixer.in_proj.weight",
    dtype: "bf16",
    shape: [514, 64],
    source: { parts: [{ file, offset, bytes }] },
  });
  expect(mixer.tensor("A_log", [2]).dtype).toBe("f32");
});

test("what was not asked for is left over, under the checkpoint's names", () => {
  const root = goldenScope();
  const layer = root.scope("layers.0");
  layer.tensor("norm.weight", [64]);
  layer.scope("mixer").tensor("D", [2]);
  expect(root.unused()).toHaveLength(18);
  expect(layer.unused()).toContain("backbone.layers.0.mixer.A_log");
  expect(layer.unused()).not.toContain("backbone.layers.0.mixer.D");
  expect(root.scope("embeddings").unused()).toEqual(["backbone.embeddings.weight"]);
  root.ignore("embeddings.weight");
  root.ignore("lm_head.weight");
  expect(root.scope("embeddings").unused()).toEqual([]);
  root.ignore("layers.1");
  expect(root.unused().filter((name) => name.startsWith("backbone.layers.1."))).toEqual([]);
  expect(layer.unused()).not.toEqual([]);
});

test("what a model has used counts under all names", () => {
  const root = WeightScope.ofCheckpoint(Checkpoint.open(golden));
  root.named(bare).tensor("norm_f.weight", [64]);
  expect(root.unused()).not.toContain("backbone.norm_f.weight");
});

test("several tensors below each other stay where they are", () => {
  const root = scopeOf(
    { a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] }, b: vector(24, 3), c: vector(36, 3) },
    48,
  );
  const all = concatRows([root.tensor("b", [3]), root.tensor("c", [3])]);
  expect(all).toMatchObject({ dtype: "f32", shape: [6], source: { parts: [{ bytes: 12 }, { bytes: 12 }] } });
  const a = root.tensor("a", [2, 3]);
  expect(concatRows([a])).toBe(a);
  expect(root.unused()).toEqual([]);
  expect(root.has("a")).toBe(true);
  expect(root.has("d")).toBe(false);
});

test("tensors of several sizes can be read in equal parts", () => {
  const root = scopeOf({ a: vector(0, 4), b: vector(16, 6) }, 40);
  const [a, b] = [root.tensor("a", [4]), root.tensor("b", [6])];
  const { file, offset } = equalParts(partsOf(a))[0]!;
  const part = (begin: number) => ({ file, offset: offset + begin, bytes: 8 });
  expect(equalParts(partsOf(concatRows([a, b])))).toEqual([0, 8, 16, 24, 32].map(part));
  expect(equalParts(partsOf(b))).toEqual([{ file, offset: offset + 16, bytes: 24 }]);
});

test("tensors of two types cannot become one", () => {
  const half = { dtype: "BF16", shape: [2], data_offsets: [4, 8] };
  const root = scopeOf({ a: vector(0, 1), b: half }, 8);
  const { message } = engineError("ERR_WEIGHTS", () => concatRows([root.tensor("a", [1]), root.tensor("b", [2])]));
  expect(message).toContain("a is f32 [1] and b is bf16 [2]: expected one type");
});

test("a prefix is a whole word: layers.1 does not cover layers.10", () => {
  const root = scopeOf({ "layers.10.norm.weight": vector(0, 1) }, 4);
  expect(root.scope("layers.1").unused()).toEqual([]);
  expect(root.scope("layers.10").unused()).toHaveLength(1);
});

test("another shape: the message has the tensor, both shapes and the file", () => {
  const mixer = goldenScope().scope("layers.0.mixer");
  const { message } = engineError("ERR_WEIGHTS", () => mixer.tensor("conv1d.weight", [384, 4]));
  expect(message).toContain("backbone.layers.0.mixer.conv1d.weight: expected shape [384, 4], got [384, 1, 4]");
  expect(message).toContain(join(golden, "model.safetensors"));
});

test("a missing tensor: the message has what lies beside it", () => {
  const mixer = goldenScope().scope("layers.0.mixer");
  const { message } = engineError("ERR_WEIGHTS", () => mixer.tensor("in_proj.bias", [514]));
  expect(message).toContain("layers.0.mixer.in_proj.bias of shape [514], got none");
  expect(message).toContain("there is: backbone.layers.0.mixer.");
});

test("a quantised tensor is refused", () => {
  const root = scopeOf({ "norm_f.weight": { dtype: "F8_E4M3", shape: [4], data_offsets: [0, 4] } }, 4);
  const { message } = engineError("ERR_WEIGHTS", () => root.tensor("norm_f.weight", [4]));
  expect(message).toContain("expected F32, BF16 or F16, got F8_E4M3");
});

test("dummy weights have whatever is asked for, drawn as the model says", () => {
  const root = WeightScope.ofDummy({ seed: 7, dtype: "f16" });
  const layer = root.named(bare).scope("layers").scope(0);
  const uniform: Initial = { law: { law: "uniform", low: -0.5, high: 0.5 }, f32: true };
  const taps = layer.tensor("conv1d.weight", [8, 1, 4], uniform);
  expect(taps).toMatchObject({ name: "layers.0.conv1d.weight", dtype: "f32", shape: [8, 1, 4] });
  expect(taps.source).toEqual({ dummy: [{ seed: 7, law: uniform.law, offset: expect.any(Number), bytes: 128 }] });
  expect(layer.tensor("conv1d.weight", [8, 1, 4], uniform)).toEqual(taps);
  const matrix = layer.tensor("in_proj.weight", [8, 8]);
  expect(matrix).toMatchObject({ dtype: "f16", source: { dummy: [{ law: initial.matrix.law, bytes: 128 }] } });
  const other = layer.tensor("out_proj.weight", [4, 8]);
  expect(concatRows([matrix, other])).toMatchObject({
    shape: [12, 8],
    source: { dummy: [...dummiesOf(matrix), ...dummiesOf(other)] },
  });
  expect(root.unused()).toEqual([]);
});
