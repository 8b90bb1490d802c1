import type { GraniteMoeHybridConfig } from "../../../src/models/config/granite-moe-hybrid";
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

describe("granitemoehybrid", () => {
  const moe = {
    kind: "swiglu",
    experts: 4,
    topK: 2,
    size: 32,
    shared: { size: 96, gated: false },
    router: { kind: "softmax_selected", normalise: false, scaling: 1, groups: 1, topkGroups: 1 },
    latentSize: null,
    bias: false,
  };

  test("golden with experts", () => {
    expect(readGolden("granitemoehybrid")).toEqual({
      modelType: "granitemoehybrid",
      ...common,
      numLayers: 3,
      maxPositions: 2048,
      tieWordEmbeddings: true,
      layers: [mamba, attention, mamba],
      normEps: 1e-6,
      ssm: { ...ssm, norm: { groups: 1, eps: 1e-6, beforeGate: false } },
      attention: { heads: 4, kvHeads: 2, headDim: 16, rope: null, scale: 0.03, bias: false },
      mlp: null,
      moe,
      embeddingMultiplier: 12,
      residualMultiplier: 0.22,
      logitsScaling: 6,
    });
  });

  test("golden without", () => {
    const config = readGolden("granitemoehybrid_dense");
    expect(config).toMatchObject({ moe: null, mlp: { kind: "swiglu", size: 96, bias: false } });
  });

  test("golden of attention only sizes nothing from its mixer's keys", () => {
    expect(readGolden("granitemoehybrid_attention")).toMatchObject({
      layers: [attention, attention],
      ssm: null,
      attention: { rope: { theta: 10_000, rotaryDim: 16 }, scale: 0.015625 },
    });
    const junk = { mamba_d_head: 40, mamba_n_heads: 7, mamba_d_conv: 99, mamba_d_state: "none", mamba_expand: -1 };
    expect(changed("granitemoehybrid_attention", junk)).toEqual(readGolden("granitemoehybrid_attention"));
  });

  test.each<[string, object, object]>([
    ["names of transformers 4", { layer_types: [attention, mamba, mamba] }, { layers: [attention, mamba, mamba] }],
    [
      "an older key",
      { layer_types: null, layers_block_type: [mamba, mamba, attention] },
      { layers: [mamba, mamba, attention] },
    ],
    ["no list", { layer_types: null }, { layers: [mamba, mamba, mamba], attention: null }],
    ["no position encoding by name", { position_embedding_type: "nope" }, { attention: { rope: null } }],
    ["the class's epsilon", { rms_norm_eps: null }, { normEps: 1e-6, ssm: { norm: { eps: 1e-6 } } }],
    ["a token that takes all experts", { num_local_experts: 2 }, { moe: { experts: 2, topK: 2 } }],
    ["no shared expert", { shared_intermediate_size: 0 }, { moe: { shared: null } }],
    [
      "multipliers of the class",
      { embedding_multiplier: null, logits_scaling: null },
      { embeddingMultiplier: 1, logitsScaling: 1 },
    ],
    [
      "a share of a head that the class does not read",
      {
        position_embedding_type: "rope",
        partial_rotary_factor: 0.5,
      },
      { attention: { rope: { rotaryDim: 16 } } },
    ],
  ])("%s", (_, changes, expected) => {
    expect(changed<GraniteMoeHybridConfig>("granitemoehybrid", changes)).toMatchObject(expected);
  });
});
