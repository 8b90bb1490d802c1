import { mamba2Name } from "../../src/models/mamba2";

describe("mamba2", () => {
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
    expect(mamba2Name(name)).toBe(internal);
  });
});
