import type { NemotronHConfig } from "../../../src/models/config/nemotron-h";
import { makeTestDir, type TestDir } from "../../weights/files";
import { goldenConfig, loadFrom, readGolden } from "./configs";
import { attention, common, mamba, ssm } from "./golden-parts";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

function changed<C>(name: string, changes: object): C {
  return loadFrom(dir, goldenConfig(name, changes)) as C;
}

describe("nemotron_h", () => {
  test("golden", () => {
    expect(readGolden("nemotron_h")).toEqual({
      modelType: "nemotron_h",
      ...common,
      mambaSsmCacheDtype: "float32",
      numLayers: 5,
      maxPositions: 4096,
      tieWordEmbeddings: false,
      layers: [mamba, "mlp", attention, "mlp", mamba],
      normEps: 1e-5,
      ssm: {
        ...ssm,
        dtMin: 0.001,
        groups: 2,
        chunkSize: 128,
        convDim: 640,
        norm: { groups: 2, eps: 1e-5, beforeGate: false },
      },
      attention: { heads: 4, kvHeads: 2, headDim: 32, rope: null, scale: 32 ** -0.5, bias: false },
      moe: null,
      mlps: Array(2).fill({ kind: "relu2", size: 192, bias: false }),
      mtpLayers: [],
    });
  });

  test.each([
    ["a list", { mtp_layers_block_type: ["attention", "moe"] }],
    ["transformers' list", { mtp_layers_block_type: ["full_attention", "moe"] }],
    ["a pattern", { mtp_layers_block_type: undefined, mtp_hybrid_override_pattern: "*E" }],
  ])("the layers of a head that predicts one token more, as %s", (_, keys) => {
    const changes = { num_nextn_predict_layers: 1, ...keys };
    expect(changed("nemotron_h_moe", changes)).toMatchObject({ mtpLayers: [attention, "moe"] });
  });

  test.each([
    ["no such head", { num_nextn_predict_layers: 0 }],
    ["layers of a kind that there is none of", { num_nextn_predict_layers: 1, mtp_layers_block_type: ["mamba"] }],
    ["a pattern of another kind", { mtp_layers_block_type: undefined, mtp_hybrid_override_pattern: "M*" }],
  ])("%s is no head that can be built", (_, changes) => {
    expect(changed("nemotron_h_moe", changes)).toMatchObject({ mtpLayers: [] });
  });

  test("golden with latent experts and groups of the router", () => {
    expect(readGolden("nemotron_h_latent")).toMatchObject({
      ssm: { heads: 4, headDim: 32, groups: 4, stateSize: 96 },
      moe: {
        kind: "relu2",
        experts: 8,
        topK: 3,
        size: 32,
        shared: { size: 48, gated: false },
        router: { kind: "sigmoid", normalise: true, scaling: 5, groups: 2, topkGroups: 1 },
        latentSize: 24,
        bias: false,
      },
      mlps: [],
    });
  });

  const older = {
    mamba_n_groups: 2,
    n_groups: undefined,
    mamba_d_conv: 4,
    conv_kernel: undefined,
    mamba_expand: 2,
    expand: undefined,
    mamba_dt_limit: [0, { __float__: "Infinity" }],
    time_step_limit: undefined,
    mamba_conv_bias: true,
    use_conv_bias: undefined,
    mamba_chunk_size: 128,
    chunk_size: undefined,
    mamba_dt_min: 0.001,
    norm_eps: 1e-5,
    layer_norm_epsilon: undefined,
    attention_head_dim: 32,
    head_dim: undefined,
    hybrid_override_pattern: "M-*-M",
    layers_block_type: undefined,
  };

  test.each<[string, object]>([
    ["all older names", older],
    ["both spellings of one key, where the older wins", { mamba_chunk_size: 128, chunk_size: 64 }],
    ["a pattern", { layers_block_type: null, hybrid_override_pattern: "M-*-M" }],
    ["a list beside a pattern, where the list wins", { hybrid_override_pattern: "M" }],
    ["short names", { layers_block_type: [mamba, "mlp", attention, "mlp", mamba] }],
    ["a null for num_hidden_layers", { num_hidden_layers: null }],
    ["a wrong num_hidden_layers", { num_hidden_layers: 52 }],
    ["sizes of a list", { intermediate_size: [192, 192] }],
    ["RoPE that the class does not have", { rope_theta: 10_000, partial_rotary_factor: 1, rope_scaling: null }],
    ["biases that it does not have", { attention_bias: true, mamba_proj_bias: true }],
    [
      "multi-token prediction",
      { num_nextn_predict_layers: 1, mtp_hybrid_override_pattern: "*E", mtp_layers_block_type: ["moe"] },
    ],
    ["experts that no layer has", { n_routed_experts: 0, num_experts_per_tok: 9, n_group: 3, moe_latent_size: "x" }],
    ["how dt_bias was drawn", { time_step_max: 0.6, time_step_floor: 0.5 }],
    ["a limit that transformers 5 does not read", { time_step_limit: [0.01, 0.1] }],
    ["an expand that does not fit", { expand: 7 }],
  ])("%s changes nothing", (_, changes) => {
    expect(changed("nemotron_h", changes)).toEqual(readGolden("nemotron_h"));
  });

  test.each<[string, object, object]>([
    ["a size for each MLP", { intermediate_size: [192, 64] }, { mlps: [{ size: 192 }, { size: 64 }] }],
    [
      "mixers only",
      { layers_block_type: null, hybrid_override_pattern: "MM" },
      { numLayers: 2, attention: null, moe: null, mlps: [] },
    ],
    ["the class's head size", { head_dim: null }, { attention: { headDim: 128 } }],
    ["the least time step of transformers 5", { time_step_min: 0.01 }, { ssm: { dtMin: 0.01, dtMax: Infinity } }],
    ["the same without a version", { transformers_version: undefined }, { ssm: { dtMin: 0.001 } }],
    ["its older name", { mamba_dt_min: 0.02 }, { ssm: { dtMin: 0.02 } }],
    ["no least time step before", { transformers_version: "4.55.4", time_step_limit: null }, { ssm: { dtMin: 0 } }],
    [
      "a clamp before",
      { transformers_version: "4.48.0.dev0", time_step_limit: [0.01, 0.1] },
      { ssm: { dtMin: 0.01, dtMax: 0.1 } },
    ],
    [
      "biases that the class reads",
      { use_bias: true, mlp_bias: true },
      {
        ssm: { inProjBias: true, outProjBias: true },
        mlps: [{ bias: true }, { bias: true }],
      },
    ],
  ])("%s", (_, changes, expected) => {
    expect(changed<NemotronHConfig>("nemotron_h", changes)).toMatchObject(expected);
  });

  test("groups of the mixer are not those of the router", () => {
    const config = changed<NemotronHConfig>("nemotron_h_latent", { n_groups: 2, n_group: 4, topk_group: 2 });
    expect(config).toMatchObject({ ssm: { groups: 2 }, moe: { router: { groups: 4, topkGroups: 2 } } });
  });
});
