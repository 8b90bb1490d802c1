import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadEngine } from "../../src/llm/load-engine";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { linear } from "../../src/ops/linear";
import { Device } from "../../src/tensor/device";
import { Checkpoint } from "../../src/weights/checkpoint";
import { wholeMatrix } from "../../src/weights/descriptor";
import { DeviceLoader } from "../../src/weights/device-loader";
import type { QuantizeFormat } from "../../src/weights/packed-form";
import { testDevices } from "../helpers/backends";
import { fromBf16, fromE4m3, toBf16, toE4m3 } from "../helpers/bits";
import { dequantized, packedRows, randomCodes } from "../helpers/codes";
import { makeRequest } from "../helpers/engine-request";
import { goldens, relativeError } from "../helpers/golden";
import { ModelHarness } from "../helpers/model-harness";
import { tokensOf } from "../helpers/random-serving";
import { Rng } from "../helpers/rng";
import { makeTestDir, type TestDir, withLength } from "../weights/files";
import { goldenConfig } from "./config/configs";

const named = (name: string) => goldens.find((golden) => golden.name === name)!;

/**
 * The weights are untrained, which leaves no direction of an activation without use: trained models lose less. Routers would turn
 * roundings into other experts: what is quantized there is compared below with what its codes mean.
 */
const tolerances: Readonly<Record<QuantizeFormat, number>> = { int8: 0.03, fp8: 0.12, "fp8-dynamic": 0.15, int4: 0.3 };

async function logitsOf(dir: string, prompt: readonly number[], options: { quantize?: QuantizeFormat } = {}) {
  const harness = await ModelHarness.load(dir, "f32", options);
  try {
    return await harness.run(prompt, [64, 128, prompt.length - 1]);
  } finally {
    harness.close();
  }
}

describe.each(["mamba2", "granitemoehybrid_dense", "falcon_h1"])("%s", (name) => {
  const golden = named(name);
  const prompt = golden.ids("input_ids.2").slice(0, 140);

  test.each(Object.keys(tolerances) as QuantizeFormat[])(
    "--quantize %s: near the logits of the floats",
    async (quantize) => {
      const plain = await logitsOf(golden.modelDir, prompt);
      const error = relativeError(await logitsOf(golden.modelDir, prompt, { quantize }), plain);
      expect(error).toBeLessThan(tolerances[quantize]);
      expect(error).toBeGreaterThan(1e-4);
    },
  );
});

test.each([
  ["int8", 0.005],
  ["fp8", 0.005],
  ["fp8-dynamic", 0.01],
  ["int4", 0.03],
] as const)("the bundled model's perplexity as %s is that of its floats within %d", async (quantize, share) => {
  const golden = named("storyteller-6m");
  const { score, client } = await loadEngine(golden.modelDir, loadModelConfig(golden.modelDir), {
    device: testDevices[0]!,
    maxNumSeqs: 4,
    quantize,
  });
  const scores = await score(golden.ids("perplexity_text_ids"));
  const reference = golden.floats("perplexity_nll").values;
  const mean = (values: Float32Array, sign: number) =>
    (sign * values.reduce((sum, value) => sum + value, 0)) / values.length;
  expect(Math.exp(mean(scores, -1) - mean(reference, 1))).toBeLessThan(1 + share);
  await client.close();
});

test("--quantize int8 makes its own codes of those that no kernel has", async () => {
  const device = Device.open({ kind: testDevices[0]! });
  const loader = new DeviceLoader(device, "f32", () => {}, "int8");
  const [n, k, group] = [32, 128, 24];
  const weight = randomCodes(new Rng(3), "i8", n, k, group);
  const { scales, offsets } = weight;
  const read = () => ({ codes: packedRows(weight), scales, offsets });
  const matrix = wholeMatrix({ name: "w", codes: "i8", group, shape: [n, k], bytes: n * k, read });
  const { data, bytes } = loader.matrix(matrix);
  expect([data.dtype, bytes]).toEqual(["i8", n * (k + 4)]);
  const x = device.tensor("f32", [k, k]);
  device.stream.upload(
    x,
    Float32Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? 1 : 0)),
  );
  const out = device.tensor("f32", [k, n]);
  linear(device.stream, { out, x, weight: data });
  const got = new Float32Array(k * n);
  await device.stream.download(out, got);
  const want = dequantized(weight);
  for (let row = 0; row < n; row++) {
    const own = want.subarray(row * k, (row + 1) * k);
    const step = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
    own.forEach((value, i) => {
      expect(Math.abs(got[i * n + row]! - value)).toBeLessThan(0.51 * step);
    });
  }
  loader.close();
  device.close();
});

/** What checkpoints in blocks of 128 x 128 say in config.json. */
const blocks = { quant_method: "fp8", activation_scheme: "dynamic", weight_block_size: [128, 128] };

describe("a checkpoint of fp8 blocks, in part", () => {
  let dir: TestDir;
  beforeEach(() => {
    dir = makeTestDir();
  });
  afterEach(() => dir.remove());

  /** Writes the model twice: with these matrices as codes in blocks, and with what the codes mean. */
  function write(model: string, isQuantized: (name: string) => boolean): { codes: string; floats: string } {
    const checkpoint = Checkpoint.open(named(model).modelDir);
    const header: Record<string, object> = {};
    const plain: Record<string, object> = {};
    const [data, plainData]: [Uint8Array[], Uint8Array[]] = [[], []];
    const add = (
      to: Record<string, object>,
      parts: Uint8Array[],
      name: string,
      dtype: string,
      shape: readonly number[],
      bytes: Uint8Array,
    ) => {
      const begin = parts.reduce((sum, { length }) => sum + length, 0);
      to[name] = { dtype, shape, data_offsets: [begin, begin + bytes.length] };
      parts.push(bytes);
    };
    for (const name of checkpoint.names()) {
      const { file, offset, bytes, dtype, shape } = checkpoint.entry(name);
      const raw = new Uint8Array(readFileSync(file).subarray(offset, offset + bytes));
      if (!isQuantized(name) || dtype !== "BF16" || shape.length !== 2) {
        add(header, data, name, dtype, shape, raw);
        add(plain, plainData, name, dtype, shape, raw);
        continue;
      }
      const [n, k] = shape as [number, number];
      const values = Float32Array.from(new Uint16Array(raw.buffer), fromBf16);
      const [rows, columns] = [Math.ceil(n / 128), Math.ceil(k / 128)];
      const blockOf = (i: number) => Math.floor(i / k / 128) * columns + Math.floor((i % k) / 128);
      const most = new Float32Array(rows * columns);
      values.forEach((value, i) => {
        most[blockOf(i)] = Math.max(most[blockOf(i)]!, Math.abs(value));
      });
      // Powers of two, so that what the codes mean is exact in bf16.
      const scales = most.map((magnitude) => 2 ** Math.ceil(Math.log2(magnitude / 448)));
      const codes = Uint8Array.from(values, (value, i) => toE4m3(value / scales[blockOf(i)]!));
      const meant = Uint16Array.from(codes, (code, i) => toBf16(fromE4m3(code) * scales[blockOf(i)]!));
      add(header, data, name, "F8_E4M3", shape, codes);
      add(
        header,
        data,
        `${name}_scale_inv`,
        "BF16",
        [rows, columns],
        new Uint8Array(Uint16Array.from(scales, toBf16).buffer),
      );
      add(plain, plainData, name, "BF16", shape, new Uint8Array(meant.buffer));
    }
    const save = (to: string, config: object, tensors: object, parts: readonly Uint8Array[]) => {
      dir.write(`${to}/config.json`, config);
      const json = Buffer.from(JSON.stringify(tensors));
      writeFileSync(
        join(dir.path, to, "model.safetensors"),
        withLength(BigInt(json.length), Buffer.concat([json, ...parts])),
      );
      return join(dir.path, to);
    };
    return {
      codes: save("codes", goldenConfig(model, { quantization_config: blocks }), header, data),
      floats: save("floats", goldenConfig(model), plain, plainData),
    };
  }

  test.each([
    ["mamba2", /_proj\.weight$/],
    ["bamba", /_proj\.weight$/],
    ["granitemoehybrid_dense", /(_proj|_linear)\.weight$/],
    ["falcon_h1", /_proj\.weight$/],
    ["nemotron_h_moe", /mixer\.(in_proj|out_proj|(experts\.\d+|shared_experts)\.\w+_proj)\.weight$/],
    ["qwen3_next", /(in_proj_qkvz|out_proj|[qkvo]_proj)\.weight$/],
    ["qwen3_5_text", /(in_proj_(qkv|z)|out_proj|[qkvo]_proj|(gate|up|down)_proj)\.weight$/], // but not b and a
    ["qwen3_5_moe_text", /(experts\.\d+|shared_expert)\.\w+_proj\.weight$/],
  ])("%s gives the logits of the model with the codes' values", async (name, pattern) => {
    const prompt = named(name).ids("input_ids.2").slice(0, 140);
    const { codes, floats } = write(name, (tensor) => pattern.test(tensor));
    const error = relativeError(await logitsOf(codes, prompt), await logitsOf(floats, prompt));
    expect(error).toBeLessThan(2e-4);
  });
});

describe("dummy weights come as the config says that the checkpoint is stored", () => {
  let dir: TestDir;
  beforeEach(() => {
    dir = makeTestDir();
  });
  afterEach(() => dir.remove());

  test.each([
    ["mamba2", { quant_method: "gptq", bits: 4, group_size: 64 }],
    ["granitemoehybrid", blocks],
    ["nemotron_h_moe", { quant_method: "modelopt", quant_algo: "NVFP4", ignore: ["lm_head"] }],
    [
      "qwen3_5_text",
      { quant_method: "compressed-tensors", config_groups: { a: { weights: { type: "float", num_bits: 8 } } } },
    ],
  ])("%s as %j", async (name, quantization_config) => {
    const load = async (own: object) => {
      dir.write("config.json", goldenConfig(name, own));
      const modelConfig = loadModelConfig(dir.path);
      const options = { device: testDevices[0]!, loadFormat: "dummy", maxNumSeqs: 2, maxModelLen: 256 } as const;
      const device = Device.open({ kind: options.device });
      const { bytes, parameters } = await loadWeights(dir.path, modelConfig, device, options);
      device.close();
      const { client } = await loadEngine(dir.path, modelConfig, options);
      const request = makeRequest({ prompt: [1, 2, 3, 4, 5], maxTokens: 4, logprobs: 1 });
      const tokens = await tokensOf(client, request);
      await client.close();
      return { bytes, parameters, tokens };
    };
    const [floats, codes] = [await load({}), await load({ quantization_config })];
    expect(codes.parameters).toBe(floats.parameters);
    expect(codes.bytes / floats.bytes).toBeLessThan(0.85);
    expect(codes.tokens).toHaveLength(4);
    for (const { logprobs } of codes.tokens) expect(Number.isFinite(logprobs!.top[0]!.logprob)).toBe(true);
  });
});
