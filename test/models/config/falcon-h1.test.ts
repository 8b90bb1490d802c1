import type { FalconH1Config } from "../../../src/models/config/falcon-h1";
import { makeTestDir, type TestDir } from "../../weights/files";
import { goldenConfig, loadFrom, readGolden } from "./configs";
import { ssm } from "./golden-parts";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

function changed<C>(name: string, changes: object): C {
  return loadFrom(dir, goldenConfig(name, changes)) as C;
}

describe("falcon_h1", () => {
  test("golden", () => {
    expect(readGolden("falcon_h1")).toMatchObject({
      modelType: "falcon_h1",
      layers: ["parallel", "parallel"],
      ssm: { ...ssm, norm: null },
      attention: { heads: 4, kvHeads: 2, headDim: 32, rope: { theta: 1e11, rotaryDim: 32 } },
      mlp: { kind: "swiglu", size: 128, bias: false },
      multipliers: {
        embedding: 5.6,
        lmHead: 0.2,
        key: 0.4,
        attentionIn: 1.1,
        attentionOut: 0.9,
        ssmIn: 1.25,
        ssmOut: 0.3,
        ssm: { z: 0.35, x: 0.5, b: 0.5, c: 0.7, dt: 0.4 },
        mlpGate: 0.9,
        mlpDown: 0.6,
      },
    });
  });

  test("golden with a large state", () => {
    expect(readGolden("falcon_h1_large_state")).toMatchObject({
      ssm: { headDim: 128, groups: 2, stateSize: 256, norm: { groups: 2, eps: 1e-5, beforeGate: false } },
    });
  });

  test.each<[string, object, object]>([
    ["a mixer as wide as expand says", { mamba_d_ssm: null }, { ssm: { inner: 128 } }],
    ["a mixer of another width", { mamba_d_ssm: 192, mamba_n_heads: 3 }, { ssm: { inner: 192, heads: 3 } }],
    [
      "its norm after the gate, then before it",
      { mamba_rms_norm: true, mamba_norm_before_gate: true },
      { ssm: { norm: { beforeGate: true } } },
    ],
    [
      "biases of in_proj and of out_proj",
      { mamba_proj_bias: true, projectors_bias: false },
      { ssm: { inProjBias: true, outProjBias: false } },
    ],
    [
      "no multipliers",
      { ssm_multipliers: null, mlp_multipliers: null, key_multiplier: undefined },
      {
        multipliers: { key: 1, ssm: { z: 1, x: 1, b: 1, c: 1, dt: 1 }, mlpGate: 1, mlpDown: 1 },
      },
    ],
  ])("%s", (_, changes, expected) => {
    expect(changed<FalconH1Config>("falcon_h1", changes)).toMatchObject(expected);
  });
});
