import { readStoredCodes } from "../../../src/models/config/stored-codes";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

function codesOf(quantization_config: object | null, modelOpt?: object) {
  dir.write("config.json", { model_type: "mamba2", quantization_config });
  if (modelOpt !== undefined) dir.write("hf_quant_config.json", { quantization: modelOpt });
  return readStoredCodes(dir.path);
}

const fp8 = (quantizeX: boolean, group: number | null = null) => ({ codes: "e4m3", group, quantizeX });
const nvfp4 = { codes: "e2m1", group: 16, quantizeX: false };
const u4 = (group: number | null) => ({ codes: "u4", group, quantizeX: false });
const floats = null;

const float = (num_bits: number) => ({ type: "float", num_bits });
const compressed = (config_groups: object, ignore: string[] = []) => ({
  quant_method: "compressed-tensors",
  config_groups,
  ignore,
});

test.each([
  ["nothing said", null, "layers.0.mixer.in_proj", floats],
  ["fp8 in blocks", { quant_method: "fp8", weight_block_size: [128, 64] }, "layers.0.mlp.up_proj", fp8(true, 64)],
  ["fp8 of a whole tensor", { quant_method: "fp8" }, "layers.0.mlp.up_proj", fp8(true)],
  ["fp8: no head", { quant_method: "fp8" }, "lm_head", floats],
  ["a listed module", { quant_method: "fp8", modules_to_not_convert: ["model.layers.0.mlp"] }, "layers.0.mlp", floats],
  ["below it", { quant_method: "fp8", modules_to_not_convert: ["model.layers.0"] }, "layers.0.mlp.up_proj", floats],
  ["its neighbour", { quant_method: "fp8", modules_to_not_convert: ["layers.1"] }, "layers.10.mlp", fp8(true)],
  ["as vLLM lists it", { quant_method: "fp8", ignored_layers: ["layers.0.mlp"] }, "layers.0.mlp.up_proj", floats],
  ["gptq", { quant_method: "gptq", bits: 4, group_size: 64 }, "layers.0.mixer.out_proj", u4(64)],
  ["gptq with a scale for a row", { quant_method: "gptq", group_size: -1 }, "layers.0.mixer.out_proj", u4(null)],
  ["gptq: no head", { quant_method: "gptq" }, "lm_head", floats],
  ["gptq with its head", { quant_method: "gptq", lm_head: true }, "lm_head", u4(128)],
  ["awq", { quant_method: "awq", modules_to_not_convert: ["x"] }, "layers.0.mixer.out_proj", u4(128)],
  ["auto-round", { quant_method: "auto-round", bits: 4, group_size: 128 }, "layers.0.mixer.out_proj", u4(128)],
  ["compressed fp8", compressed({ a: { weights: float(8), input_activations: float(8) } }), "lm_head", fp8(true)],
  ["its weights alone", compressed({ a: { weights: float(8) } }), "layers.0.mlp", fp8(false)],
  [
    "its blocks",
    compressed({ a: { weights: { ...float(8), block_structure: [128, 128] } } }),
    "layers.0.mlp",
    fp8(false, 128),
  ],
  [
    "packed integers",
    compressed({ a: { weights: { num_bits: 4, type: "int", group_size: 128 } } }),
    "layers.0.mlp",
    u4(128),
  ],
  ["integers by rows", compressed({ a: { weights: { num_bits: 8, type: "int" } } }), "a", { ...u4(null), codes: "i8" }],
  ["compressed nvfp4", compressed({ a: { targets: ["Linear"], weights: float(4) } }), "layers.0.mlp", nvfp4],
  ["a group with names", compressed({ a: { targets: ["re:.*mlp"], weights: float(4) } }), "layers.0.mlp", nvfp4],
  ["what no group names", compressed({ a: { targets: ["re:.*mlp"], weights: float(4) } }), "layers.0.o_proj", floats],
  ["what is ignored", compressed({ a: { weights: float(8) } }, ["re:.*head$"]), "lm_head", floats],
  ["modelopt fp8", { quant_method: "modelopt", quant_algo: "FP8" }, "layers.0.mixer.in_proj", fp8(true)],
  ["modelopt fp8 in blocks", { quant_method: "modelopt", quant_algo: "FP8_PB_WO" }, "layers.0.mlp.up", fp8(false, 128)],
  ["a glob", { quant_method: "modelopt", quant_algo: "NVFP4", ignore: ["*o_proj*"] }, "layers.9.mixer.o_proj", floats],
  ["beside it", { quant_method: "modelopt", quant_algo: "NVFP4", ignore: ["*o_proj*"] }, "layers.9.mixer.up", nvfp4],
])("%s", (_, config, module, form) => {
  expect(codesOf(config)(module)).toEqual(form);
});

test("ModelOpt's own file, with several kinds of layers", () => {
  const of = codesOf(null, {
    quant_algo: "MIXED_PRECISION",
    exclude_modules: ["lm_head"],
    quantized_layers: {
      "backbone.layers.0.mixer.in_proj": { quant_algo: "FP8" },
      "backbone.layers.*.mixer.experts": { quant_algo: "W4A16_NVFP4", group_size: 16 },
    },
  });
  expect(of("layers.0.mixer.in_proj")).toEqual(fp8(true));
  expect(of("layers.3.mixer.experts.17.up_proj")).toEqual(nvfp4);
  expect([of("layers.1.mixer.in_proj"), of("lm_head")]).toEqual([floats, floats]);
});

test.each([
  ["ERR_CONFIG", { quant_method: "gptq", bits: 8 }, "bits: expected 4, got 8"],
  ["ERR_CONFIG", compressed({ a: {} }), "config_groups.a.weights: expected an object with type and num_bits"],
  [
    "ERR_CONFIG",
    compressed({ a: { weights: float(8) } }, ["re:("]),
    "ignore.0: expected a regular expression after re:",
  ],
  ["ERR_CONFIG", { quant_method: "modelopt", quantized_layers: { a: 1 } }, "each with a quant_algo"],
  ["ERR_MODEL_UNSUPPORTED", { quant_method: "modelopt", quant_algo: "W4A8_AWQ" }, "quant_algo: expected FP8 or NVFP4"],
  ["ERR_MODEL_UNSUPPORTED", compressed({ a: { weights: float(6) } }), "config_groups.a.weights: expected 4 or 8 bits"],
] as const)("%s for %j", (code, config, message) => {
  expect(engineError(code, () => codesOf(config)).message).toContain(message);
});
