/** Models in GGUF against the same checkpoints as Hugging Face has them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig } from "../../src/models/config";
import { ConfigFile } from "../../src/models/config/json-file";
import { mamba2Name } from "../../src/models/mamba2";
import { openWeights } from "../../src/models/stored-weights";
import { Device } from "../../src/tensor/device";
import { DeviceLoader } from "../../src/weights/device-loader";
import type { ComputeDtype } from "../../src/weights/weight-loader";
import { testDevices } from "../helpers/backends";
import { floatType, ggufOf } from "../helpers/gguf-models";
import { type QuantizedType, quantizers } from "../helpers/gguf-quantizers";
import { relativeError } from "../helpers/golden";
import { ModelHarness } from "../helpers/model-harness";
import { Rng } from "../helpers/rng";
import { makeTestDir, type TestDir, withLength } from "../weights/files";

/** A golden checkpoint, without what a file does not say: bounds of the time step that only transformers 5 has. */
function golden(name: string): string {
  const path = join(__dirname, "..", "golden", name);
  const { value } = ConfigFile.read(join(path, "config.json"));
  if (value.model_type !== "nemotron_h") return path;
  dir.write(`${name}/config.json`, { ...value, transformers_version: "4", time_step_limit: null });
  dir.write(`${name}/model.safetensors`, readFileSync(join(path, "model.safetensors")));
  return join(dir.path, name);
}

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

async function logitsOf(path: string, dtype: ComputeDtype): Promise<Float32Array> {
  const harness = await ModelHarness.load(path, dtype);
  const rng = new Rng(7);
  const tokens = Array.from({ length: 70 }, () => rng.bits() % harness.config.vocabSize);
  const [logits] = await harness.step([{ tokens, start: 0, slot: 0 }]);
  harness.close();
  return logits!;
}

const checkpoints = [
  ...["mamba2", "mamba2_groups", "bamba", "granitemoehybrid", "granitemoehybrid_dense", "granitemoehybrid_attention"],
  ...["nemotron_h", "nemotron_h_moe", "nemotron_h_latent", "falcon_h1", "falcon_h1_large_state"],
  ...["qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"],
];

/** What a file does not have, or has in its weights. */
const unsaid = ["torchDtype", "bosTokenId", "eosTokenIds", "padTokenId", "mambaSsmCacheDtype", "multipliers"];

function said(path: string): Record<string, unknown> {
  const config = Object.entries(loadModelConfig(path)).filter(([key]) => !unsaid.includes(key));
  // Chunks change speed, not results.
  return JSON.parse(JSON.stringify(Object.fromEntries(config), (key, value) => (key === "chunkSize" ? 0 : value)));
}

const write = (name: string, type: "F32" | "F16" | "BF16") =>
  dir.write(`${type}.gguf`, ggufOf(golden(name), { type: floatType(type) }).file());

/** Falcon-H1's weights, times its multipliers, are rounded when they are written. */
const isRounded = (name: string) => name.startsWith("falcon");

describe.each(checkpoints)("%s", (name) => {
  test("its config is that of config.json", () => {
    expect(said(write(name, "BF16"))).toEqual(said(golden(name)));
    expect(loadModelConfig(write(name, "F16")).torchDtype).toBe("float16");
  });

  test.each([
    ["BF16", "bf16", 2e-2],
    ["F32", "f32", 1e-5],
  ] as const)("%s under %s gives its logits", async (type, dtype, rounded) => {
    const expected = await logitsOf(golden(name), dtype);
    const error = relativeError(await logitsOf(write(name, type), dtype), expected);
    expect(error).toBeLessThan(isRounded(name) ? rounded : 1e-6);
  });

  test("Q8_0 gives the logits of the floats that it stands for", async () => {
    const isWhole = (shape: readonly number[]) => shape.at(-1)! % 32 === 0;
    const codes = ggufOf(golden(name), {
      type: (_, shape) =>
        isWhole(shape) ? ["Q8_0", (values) => quantizers.Q8_0(values).bytes] : ["F32", (values) => values],
    });
    const floats = ggufOf(golden(name), {
      type: (_, shape) => ["F32", (values) => (isWhole(shape) ? quantizers.Q8_0(values).values : values)],
    });
    const expected = await logitsOf(dir.write("floats.gguf", floats.file()), "f32");
    expect(relativeError(await logitsOf(dir.write("codes.gguf", codes.file()), "f32"), expected)).toBeLessThan(2e-3);
    expect(relativeError(expected, await logitsOf(golden(name), "f32"))).toBeGreaterThan(1e-4);
  });
});

test.each([
  ["BF16", 1e-6],
  ["F16", 1e-3],
] as const)("%s under float32 gives the logits of the checkpoint", async (type, tolerance) => {
  const expected = await logitsOf(golden("mamba2"), "f32");
  expect(relativeError(await logitsOf(write("mamba2", type), "f32"), expected)).toBeLessThan(tolerance);
});

/** A checkpoint whose rows are whole superblocks of ggml's. */
function writeWide(): string {
  const [hidden, heads, headDim, state, layers, vocab] = [256, 8, 64, 16, 2, 96];
  const [inner, convDim] = [heads * headDim, heads * headDim + 2 * state];
  const shapes: Record<string, readonly number[]> = {
    "backbone.embeddings.weight": [vocab, hidden],
    "backbone.norm_f.weight": [hidden],
  };
  for (let i = 0; i < layers; i++) {
    const layer = `backbone.layers.${i}.`;
    Object.assign(shapes, {
      [`${layer}norm.weight`]: [hidden],
      [`${layer}mixer.in_proj.weight`]: [inner + convDim + heads, hidden],
      [`${layer}mixer.conv1d.weight`]: [convDim, 1, 4],
      [`${layer}mixer.conv1d.bias`]: [convDim],
      [`${layer}mixer.dt_bias`]: [heads],
      [`${layer}mixer.A_log`]: [heads],
      [`${layer}mixer.D`]: [heads],
      [`${layer}mixer.norm.weight`]: [inner],
      [`${layer}mixer.out_proj.weight`]: [hidden, inner],
    });
  }
  const rng = new Rng(3);
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const count = shape.reduce((product, size) => product * size, 1);
    const isMatrix = /(embeddings|proj)\.weight$/.test(name);
    const values = isMatrix ? rng.normal(count, 0, 0.06) : rng.uniform(count, 0.5, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + values.byteLength] };
    data.push(new Uint8Array(values.buffer));
    end += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  dir.write("wide/model.safetensors", withLength(BigInt(json.length), Buffer.concat([json, ...data])));
  dir.write("wide/config.json", {
    ...{ model_type: "mamba2", vocab_size: vocab, hidden_size: hidden, num_hidden_layers: layers, num_heads: heads },
    ...{ head_dim: headDim, state_size: state, n_groups: 1, conv_kernel: 4, layer_norm_epsilon: 1e-5 },
    tie_word_embeddings: true,
  });
  return join(dir.path, "wide");
}

describe("codes give the logits of the floats that they stand for", () => {
  /** One type for all matrices, or what llama.cpp mixes as Q4_K_M: more bits for the head and what adds to the residual stream. */
  const mixtures: Readonly<Record<string, (name: string) => QuantizedType>> = {
    Q8_0: () => "Q8_0",
    Q5_0: () => "Q5_0",
    Q4_K: () => "Q4_K",
    Q6_K: () => "Q6_K",
    Q4_K_M: (name) => (/token_embd|ssm_out/.test(name) ? "Q6_K" : "Q4_K"),
  };

  test.each(Object.keys(mixtures))("%s", async (mixture) => {
    const checkpoint = writeWide();
    const typeOf = mixtures[mixture]!;
    const codes = ggufOf(checkpoint, {
      type: (name) => {
        const type = typeOf(name);
        return [type, (values) => quantizers[type](values).bytes];
      },
    });
    const floats = ggufOf(checkpoint, { type: (name) => ["F32", (values) => quantizers[typeOf(name)](values).values] });
    const [quantized, widened] = [dir.write("codes.gguf", codes.file()), dir.write("floats.gguf", floats.file())];
    const original = await logitsOf(checkpoint, "f32");
    const expected = await logitsOf(widened, "f32");
    // u4 keeps scales and offsets as f16.
    expect(relativeError(await logitsOf(quantized, "f32"), expected)).toBeLessThan(5e-3);
    expect(relativeError(await logitsOf(quantized, "bf16"), expected)).toBeLessThan(2e-2);
    // Codes that all were 0, say, would pass the lines above.
    expect(relativeError(expected, original)).toBeLessThan(0.3);
  });
});

test("a head of Q6_K stays codes with a scale for each 16 on a CPU; on a GPU it is widened", async () => {
  const file = ggufOf(writeWide(), { type: () => ["Q6_K", (values) => quantizers.Q6_K(values).bytes] });
  const embeddings = openWeights(dir.write("codes.gguf", file.file())).scope().named(mamba2Name).scope("embeddings");
  const device = Device.open({ kind: testDevices[0]! });
  const loader = new DeviceLoader(device, "bf16");
  const [n, k] = [96, 256];
  const { data, bytes } = loader.matrix(embeddings.matrix([n, k]));
  await loader.settle();
  const isCpu = device.kind === "cpu";
  expect([data.dtype, bytes]).toEqual(isCpu ? ["i8", n * (k + (4 * k) / 16)] : ["bf16", 2 * n * k]);
  loader.close();
  device.close();
});
