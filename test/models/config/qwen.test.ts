import type { Qwen35Config } from "../../../src/models/config/qwen3-5";
import type { Qwen3NextConfig } from "../../../src/models/config/qwen3-next";
import { makeTestDir, type TestDir } from "../../weights/files";
import { goldenConfig, loadFrom, readGolden } from "./configs";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

function changed<C>(name: string, changes: object): C {
  return loadFrom(dir, goldenConfig(name, changes)) as C;
}

describe("qwen", () => {
  const linear = "linear_attention";
  const full = "full_attention";
  const moe = {
    kind: "swiglu",
    size: 32,
    router: { kind: "softmax", normalise: true, scaling: 1, groups: 1, topkGroups: 1 },
    latentSize: null,
    bias: false,
  };

  test("golden of qwen3_next", () => {
    expect(readGolden("qwen3_next")).toMatchObject({
      modelType: "qwen3_next",
      layers: [linear, linear, linear, full],
      gdn: { keyHeads: 2, valueHeads: 4, keyDim: 32, valueDim: 32, convKernel: 4, convDim: 256, normEps: 1e-6 },
      attention: { heads: 2, kvHeads: 1, headDim: 64, rope: { rotaryDim: 16 }, scale: 0.125 },
      feedForwards: Array(4).fill("moe"),
      mlp: null,
      moe: { ...moe, experts: 4, topK: 2, shared: { size: 32, gated: true } },
    });
  });

  test.each<[string, object, object]>([
    ["an interval", { layer_types: null, full_attention_interval: 2 }, { layers: [linear, full, linear, full] }],
    [
      "a quarter of a head is rotated by default",
      { rope_parameters: null, partial_rotary_factor: null, rope_theta: 1e7 },
      {
        attention: { rope: { theta: 1e7, rotaryDim: 16 } },
      },
    ],
    ["the class's head size", { head_dim: undefined }, { attention: { headDim: 256, rope: { rotaryDim: 64 } } }],
    ["MLPs by step", { decoder_sparse_step: 2 }, { feedForwards: ["mlp", "moe", "mlp", "moe"], mlp: { size: 128 } }],
    ["MLPs by layer", { mlp_only_layers: [0] }, { feedForwards: ["mlp", "moe", "moe", "moe"] }],
    ["no experts", { num_experts: 0 }, { feedForwards: Array(4).fill("mlp"), moe: null }],
    ["weights as they are", { norm_topk_prob: false }, { moe: { router: { normalise: false } } }],
  ])("qwen3_next: %s", (_, changes, expected) => {
    expect(changed<Qwen3NextConfig>("qwen3_next", changes)).toMatchObject(expected);
  });

  test("golden of qwen3_5_text", () => {
    expect(readGolden("qwen3_5_text")).toMatchObject({
      modelType: "qwen3_5",
      layers: [linear, linear, linear, full],
      mlp: { kind: "swiglu", size: 128, bias: false },
    });
  });

  test("golden of qwen3_5_moe_text", () => {
    expect(readGolden("qwen3_5_moe_text")).toMatchObject({
      modelType: "qwen3_5_moe",
      gdn: { keyHeads: 2, valueHeads: 6, convDim: 320 },
      moe: { ...moe, experts: 6, topK: 2, shared: { size: 48, gated: true } },
    });
  });

  test("a text model inside one of text and images", () => {
    const text_config = goldenConfig("qwen3_5_text", { mamba_ssm_dtype: "float32", mtp_num_hidden_layers: 1 });
    const wrapper = { model_type: "qwen3_5", text_config, vision_config: { depth: 27 }, image_token_id: 5 };
    const alone = readGolden("qwen3_5_text");
    const expected = { ...alone, mambaSsmCacheDtype: "float32" };
    expect(loadFrom(dir, { ...wrapper, tie_word_embeddings: false })).toEqual(expected);
    expect(loadFrom(dir, { ...wrapper, tie_word_embeddings: true })).toEqual({ ...expected, tieWordEmbeddings: true });
    expect(loadFrom(dir, wrapper)).toEqual(expected);
  });

  test("mrope of a text is RoPE", () => {
    const rope_parameters = {
      mrope_interleaved: true,
      mrope_section: [11, 11, 10],
      rope_type: "default",
      rope_theta: 10_000,
      partial_rotary_factor: 0.25,
    };
    expect(changed<Qwen35Config>("qwen3_5_text", { rope_parameters })).toEqual(readGolden("qwen3_5_text"));
  });
});
