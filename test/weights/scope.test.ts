import { join } from "node:path";
import { Checkpoint } from "../../src/weights/checkpoint";
import { internalName, internalNames } from "../../src/weights/names";
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

test.each([
  ["backbone.embeddings.weight", "embeddings.weight"],
  ["backbone.embedding.weight", "embeddings.weight"],
  ["model.backbone.embedding.weight", "embeddings.weight"],
  ["model.embeddings.weight", "embeddings.weight"],
  ["backbone.norm_f.weight", "norm_f.weight"],
  ["lm_head.weight", "lm_head.weight"],
  ["model.lm_head.weight", "lm_head.weight"],
  ["backbone.layers.12.mixer.in_proj.weight", "layers.12.mixer.in_proj.weight"],
  ["model.backbone.layers.0.mixer.A_log", "layers.0.mixer.A_log"],
  ["layers.0.norm.weight", "layers.0.norm.weight"],
  ["visual.backbone.weight", "visual.backbone.weight"],
])("%s is %s", (name, internal) => {
  expect(internalName(name)).toBe(internal);
});

test("two names for one tensor are refused", () => {
  const names = ["backbone.embedding.weight", "backbone.embeddings.weight"];
  const { message } = engineError("ERR_WEIGHTS", () => internalNames(names));
  for (const name of names) expect(message).toContain(name);
});

test("descriptors point into the file", () => {
  const checkpoint = Checkpoint.open(golden);
  const mixer = WeightScope.ofCheckpoint(checkpoint).scope("layers").scope(1).scope("mixer");
  const { file, offset, bytes } = checkpoint.entry("backbone.layers.1.mixer.in_proj.weight");
  expect(mixer.tensor("in_proj.weight", [514, 64])).toEqual({
    name: "layers.1.mixer.in_proj.weight",
    dtype: "bf16",
    shape: [514, 64],
    source: { file, offset, bytes },
  });
  expect(mixer.tensor("A_log", [2]).dtype).toBe("f32");
});

test("what was not asked for is left over, under the checkpoint's names", () => {
  const root = WeightScope.ofCheckpoint(Checkpoint.open(golden));
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
});

test("a prefix is a whole word: layers.1 does not cover layers.10", () => {
  const root = scopeOf({ "backbone.layers.10.norm.weight": vector(0, 1) }, 4);
  expect(root.scope("layers.1").unused()).toEqual([]);
  expect(root.scope("layers.10").unused()).toHaveLength(1);
});

test("another shape: the message has the tensor, both shapes and the file", () => {
  const mixer = WeightScope.ofCheckpoint(Checkpoint.open(golden)).scope("layers.0.mixer");
  const { message } = engineError("ERR_WEIGHTS", () => mixer.tensor("conv1d.weight", [384, 4]));
  expect(message).toContain("backbone.layers.0.mixer.conv1d.weight: expected shape [384, 4], got [384, 1, 4]");
  expect(message).toContain(join(golden, "model.safetensors"));
});

test("a missing tensor: the message has what lies beside it", () => {
  const mixer = WeightScope.ofCheckpoint(Checkpoint.open(golden)).scope("layers.0.mixer");
  const { message } = engineError("ERR_WEIGHTS", () => mixer.tensor("in_proj.bias", [514]));
  expect(message).toContain("layers.0.mixer.in_proj.bias of shape [514], got none");
  expect(message).toContain("there is: backbone.layers.0.mixer.");
});

test("a quantised tensor is refused", () => {
  const root = scopeOf({ "norm_f.weight": { dtype: "F8_E4M3", shape: [4], data_offsets: [0, 4] } }, 4);
  const { message } = engineError("ERR_WEIGHTS", () => root.tensor("norm_f.weight", [4]));
  expect(message).toContain("expected F32, BF16 or F16, got F8_E4M3");
});

test("dummy weights have whatever is asked for", () => {
  const root = WeightScope.ofDummy({ seed: 7, dtype: "f16" });
  const mixer = root.scope("layers").scope(0).scope("mixer");
  const convolution = mixer.tensor("conv1d.weight", [8, 1, 4]);
  expect(convolution).toMatchObject({ name: "layers.0.mixer.conv1d.weight", dtype: "f16", shape: [8, 1, 4] });
  expect(convolution.source).toEqual({ dummy: { seed: expect.any(Number), kind: { law: "uniform", limit: 0.5 } } });
  for (const name of ["A_log", "D", "dt_bias"]) expect(mixer.tensor(name, [2]).dtype).toBe("f32");
  expect(mixer.tensor("conv1d.weight", [8, 1, 4])).toEqual(convolution);
  expect(root.unused()).toEqual([]);
});
