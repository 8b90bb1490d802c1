import type { BambaConfig } from "../../../src/models/config/bamba";
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

describe("bamba", () => {
  test("golden", () => {
    expect(readGolden("bamba")).toEqual({
      modelType: "bamba",
      ...common,
      numLayers: 3,
      maxPositions: 262_144,
      tieWordEmbeddings: false,
      layers: [mamba, attention, mamba],
      normEps: 1e-5,
      ssm: { ...ssm, norm: { groups: 1, eps: 1e-5, beforeGate: false } },
      attention: {
        heads: 2,
        kvHeads: 1,
        headDim: 32,
        rope: { theta: 10_000, rotaryDim: 16, invFreq: expect.any(Array), attentionFactor: 1 },
        scale: 32 ** -0.5,
        bias: false,
      },
      mlp: { kind: "swiglu", size: 128, bias: false },
    });
  });

  test.each<[string, object, object]>([
    ["a head size from the class", { mamba_d_head: "auto" }, { ssm: { headDim: 64 } }],
    ["no head size", { mamba_d_head: undefined, mamba_n_heads: 4 }, { ssm: { heads: 4, headDim: 32 } }],
    ["no attention", { attn_layer_indices: null }, { layers: [mamba, mamba, mamba] }],
    ["heads of their own", { num_key_value_heads: null }, { attention: { kvHeads: 2 } }],
    ["the largest head", { head_dim: 256 }, { attention: { headDim: 256 } }],
    ["a stated head size", { head_dim: 48 }, { attention: { headDim: 48, rope: { rotaryDim: 24 } } }],
    [
      "half of a head is rotated by default",
      { rope_parameters: undefined },
      { attention: { rope: { rotaryDim: 16 } } },
    ],
    ["transformers 4", { rope_parameters: undefined, rope_theta: 5e5 }, { attention: { rope: { theta: 5e5 } } }],
    [
      "biases",
      { attention_bias: true, mlp_bias: true, mamba_proj_bias: true },
      {
        attention: { bias: true },
        mlp: { bias: true },
        ssm: { inProjBias: true, outProjBias: true },
      },
    ],
    ["a mixer's size is expand's, not mamba_d_ssm's", { mamba_d_ssm: 64 }, { ssm: { inner: 128 } }],
    [
      "a norm over all groups together",
      { mamba_n_groups: 2 },
      { ssm: { groups: 2, convDim: 640, norm: { groups: 1 } } },
    ],
  ])("%s", (_, changes, expected) => {
    expect(changed<BambaConfig>("bamba", changes)).toMatchObject(expected);
  });
});
