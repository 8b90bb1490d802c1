import type { Zamba2Config } from "../../../src/models/config/zamba2";
import { makeTestDir, type TestDir } from "../../weights/files";
import { goldenConfig, loadFrom, readGolden } from "./configs";
import { common, mamba, ssm } from "./golden-parts";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

function changed<C>(name: string, changes: object): C {
  return loadFrom(dir, goldenConfig(name, changes)) as C;
}

describe("zamba2", () => {
  test("golden", () => {
    expect(readGolden("zamba2")).toEqual({
      modelType: "zamba2",
      ...common,
      numLayers: 6,
      maxPositions: 4096,
      tieWordEmbeddings: true,
      layers: [mamba, "hybrid", mamba, mamba, "hybrid", mamba],
      normEps: 1e-5,
      ssm: { ...ssm, dtMin: 0.001, stateSize: 64, convDim: 256, norm: { groups: 1, eps: 1e-5, beforeGate: false } },
      attention: { heads: 4, kvHeads: 4, headDim: 32, rope: null, scale: 16 ** -0.5, bias: false },
      mlp: { kind: "gelu_glu", size: 128, bias: false },
      sharedBlocks: 1,
      adapterRank: 16,
      attentionAdapters: false,
    });
  });

  test.each<[string, object, object]>([
    [
      "RoPE over all of a head",
      { use_mem_rope: true, partial_rotary_factor: 0.5 },
      { attention: { rope: { rotaryDim: 32 } } },
    ],
    ["tied where nothing is said", { tie_word_embeddings: undefined }, { tieWordEmbeddings: true }],
    ["an MLP of the class's size", { intermediate_size: null }, { mlp: { size: 256 } }],
    ["a convolution always has a bias", { use_conv_bias: false }, { ssm: { convBias: true } }],
    ["sizes of heads follow from their number", { mamba_headdim: 1, attention_head_dim: 1 }, { ssm: { headDim: 64 } }],
    ["no more shared blocks than uses", { num_mem_blocks: 5 }, { sharedBlocks: 2 }],
    ["a wrong num_hidden_layers", { num_hidden_layers: 81 }, { numLayers: 6 }],
    ["a longer context", { use_long_context: true }, { maxPositions: 16_384 }],
    [
      "biases",
      { add_bias_linear: true },
      { ssm: { inProjBias: true }, mlp: { bias: true }, attention: { bias: false } },
    ],
  ])("%s", (_, changes, expected) => {
    expect(changed<Zamba2Config>("zamba2", changes)).toMatchObject(expected);
  });
});
