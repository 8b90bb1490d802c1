/** What a file in GGUF says of its model, and how it is refused: by its own keys and tensors. */
import { join } from "node:path";
import { loadModelConfig } from "../../../src/models/config";
import { openWeights } from "../../../src/models/stored-weights";
import { matrixOf } from "../../../src/weights/gguf/weight";
import { floatType, ggufOf } from "../../helpers/gguf-models";
import { GgufWriter } from "../../helpers/gguf-writer";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";

const golden = (name: string) => join(__dirname, "../../golden", name);

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

/** A model's file with bytes changed: names keep their lengths. */
function changed(name: string, from: string, to: string): string {
  const file = ggufOf(golden(name), { type: floatType("BF16") }).file();
  let at = file.indexOf(from);
  if (at < 0) throw new Error(`no ${from}`);
  for (; at >= 0; at = file.indexOf(from)) file.write(to, at);
  return dir.write("model.gguf", file);
}

describe("a config is refused by the file's key", () => {
  test.each([
    ["mamba2", "mamba2.ssm.state_size", "mamba2.ssm.state_size: expected an integer from 1 to 4096, got nothing"],
    ["mamba2", "mamba2.block_count", "mamba2.block_count: expected an integer from 1 to 4096, got NaN"],
    ["mamba2", "mamba2.ssm.inner_size", "mamba2.ssm.inner_size: expected"],
    ["granitemoehybrid", "granitehybrid.attention.head_count", "granitehybrid.attention.head_count: expected"],
    ["granitemoehybrid", "granitehybrid.expert_used_count", "granitehybrid.expert_used_count: expected"],
    ["nemotron_h_moe", "nemotron_h_moe.expert_count", "nemotron_h_moe.expert_count: expected"],
    ["falcon_h1", "falcon-h1.context_length", "falcon-h1.context_length: expected"],
    ["qwen3_next", "qwen3next.ssm.group_count", "qwen3next.ssm.group_count: expected"],
    ["qwen3_5_text", "qwen35.attention.key_length", "qwen35.rope.dimension_count: expected"],
    ["qwen3_next", "blk.1.ssm_a", "blk.1: expected one of linear_attention, full_attention, got"],
  ])("%s without %s", (name, key, fragment) => {
    const path = changed(name, key, key.slice(0, -1).concat("_"));
    const { message } = engineError("ERR_CONFIG", () => loadModelConfig(path));
    expect(message).toContain(`${path}: ${fragment}`);
  });

  test.each([
    ["llama", '"llama"'],
    ["toString", '"toString"'],
    [undefined, "nothing"],
  ])("an architecture of %s", (architecture, got) => {
    const writer = new GgufWriter();
    if (architecture !== undefined) writer.key("general.architecture", "string", architecture);
    const path = dir.write("a.gguf", writer.file());
    const { message } = engineError("ERR_MODEL_UNSUPPORTED", () => loadModelConfig(path));
    expect(message).toContain(`${path}: general.architecture: expected one of mamba2, `);
    expect(message).toContain(`got ${got}`);
  });
});

test("ends of text and of turns are all that the file names", () => {
  const writer = ggufOf(golden("mamba2"), { type: floatType("BF16") });
  for (const [name, id] of [
    ["bos", 1],
    ["eos", 2],
    ["eot", 3],
    ["padding", 4],
  ] as const) {
    writer.key(`tokenizer.ggml.${name}_token_id`, "uint32", id);
  }
  const config = loadModelConfig(dir.write("a.gguf", writer.file()));
  expect(config).toMatchObject({ bosTokenId: 1, eosTokenIds: [2, 3], padTokenId: 4 });
});

test("RoPE stretched by YaRN", () => {
  const writer = ggufOf(golden("qwen3_5_text"), { type: floatType("BF16") })
    .key("qwen35.rope.scaling.type", "string", "yarn")
    .key("qwen35.rope.scaling.factor", "float32", 4)
    .key("qwen35.rope.scaling.original_context_length", "uint32", 8192);
  const config = loadModelConfig(dir.write("a.gguf", writer.file()));
  const plain = loadModelConfig(golden("qwen3_5_text"));
  if (!("attention" in config && "attention" in plain)) throw new Error("expected attention");
  expect(config.attention!.rope!.invFreq).not.toEqual(plain.attention!.rope!.invFreq);
  expect(config.attention!.rope!.attentionFactor).toBeCloseTo(0.1 * Math.log(4) + 1, 6);
});

describe("weights", () => {
  const scope = (path: string) => openWeights(path).scope();

  test("that a file lacks are named as the model asks for them", () => {
    const weights = scope(changed("mamba2", "blk.1.ssm_out.weight", "blk.1.ssm_owt.weight"));
    expect(weights.has("backbone.layers.1.mixer.out_proj.weight")).toBe(false);
    const { message } = engineError("ERR_WEIGHTS", () =>
      weights.tensor("backbone.layers.1.mixer.out_proj.weight", [64, 128]),
    );
    expect(message).toContain(
      "expected tensor backbone.layers.1.mixer.out_proj.weight of shape [64, 128], got nothing",
    );
  });

  test("of another shape are named as the file does", () => {
    const weights = scope(dir.write("a.gguf", ggufOf(golden("mamba2"), { type: floatType("BF16") }).file()));
    const { message } = engineError("ERR_WEIGHTS", () => weights.tensor("backbone.norm_f.weight", [65]));
    expect(message).toContain(
      "of shape [65], got output_norm.weight of shape [64]; its metadata and its tensors differ",
    );
  });

  test("of a type that is not read are refused by their names", () => {
    const tensor = {
      file: "a.gguf",
      offset: 0,
      bytes: 66,
      shape: [1, 256],
      type: { name: "IQ2_XXS", elements: 256, bytes: 66 },
    };
    const weight = { name: "x", from: ["y"], shape: [1, 256], rows: [{ tensor, begin: 0, end: 1 }] };
    const { message } = engineError("ERR_WEIGHTS", () => matrixOf(weight));
    expect(message).toContain("a.gguf: tensor x: expected one of F32, BF16, F16, Q4_0");
    expect(message).toContain("got IQ2_XXS; take a file of another quantization");
  });

  test("that belong to nothing are unused", () => {
    const writer = ggufOf(golden("mamba2"), { type: floatType("BF16") });
    const path = dir.write("a.gguf", writer.tensor("rope_freqs.weight", "F32", [4], new Float32Array(4)).file());
    expect(scope(path).unused()).toContain("rope_freqs.weight");
  });

  test("of layers that draft tokens are no part of the model", () => {
    const writer = ggufOf(golden("nemotron_h_moe"), { type: floatType("BF16") });
    const layers = 4;
    writer.tensor(`blk.${layers}.nextn.eh_proj.weight`, "F32", [2, 2], new Float32Array(4));
    const weights = scope(dir.write("a.gguf", writer.file()));
    expect(weights.has(`mtp.blk.${layers}.nextn.eh_proj.weight`)).toBe(true);
    weights.ignore("mtp");
    expect(weights.unused()).not.toContain(`blk.${layers}.nextn.eh_proj.weight`);
  });
});
