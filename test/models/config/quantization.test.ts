import { readQuantization } from "../../../src/models/config/quantization";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

function read(quantization_config: object | null, modelOpt?: object) {
  dir.write("config.json", { model_type: "mamba2", quantization_config });
  if (modelOpt !== undefined) dir.write("hf_quant_config.json", { quantization: modelOpt });
  return readQuantization(dir.path);
}

const float8 = { num_bits: 8, type: "float", strategy: "channel" };
const group = (weights: object | null, input_activations: object | null) => ({ weights, input_activations });

test("nothing said: blocks of 128 x 128, inputs as they are", () => {
  expect(read(null)).toEqual({ fp8Block: [128, 128], fp8Inputs: false, plainZeroPoints: false });
  expect(read(null, { quant_algo: "FP8" })).toMatchObject({ fp8Inputs: false }); // its tensors say it
});

test.each([
  ["dynamic scales of inputs", { quant_method: "fp8", activation_scheme: "dynamic" }, true],
  ["static ones", { quant_method: "fp8", activation_scheme: "static" }, true],
  ["a scheme that is not known", { quant_method: "fp8", activation_scheme: "none" }, false],
  ["no scheme", { quant_method: "fp8" }, false],
  [
    "compressed-tensors with float inputs of 8 bits",
    { quant_method: "compressed-tensors", config_groups: { a: group(float8, float8) } },
    true,
  ],
  [
    "compressed-tensors of weights alone",
    { quant_method: "compressed-tensors", config_groups: { a: group(float8, null) } },
    false,
  ],
  [
    "some of its fp8 groups only",
    { quant_method: "compressed-tensors", config_groups: { a: group(float8, float8), b: group(float8, null) } },
    false,
  ],
  [
    "a group of another type beside",
    {
      quant_method: "compressed-tensors",
      config_groups: { a: group(float8, float8), b: group({ num_bits: 4, type: "float" }, null) },
    },
    true,
  ],
  [
    "integers",
    { quant_method: "compressed-tensors", config_groups: { a: group({ num_bits: 8 }, { num_bits: 8 }) } },
    false,
  ],
])("whether inputs of fp8 are rounded: %s", (_, config, fp8Inputs) => {
  expect(read(config)).toMatchObject({ fp8Inputs });
});

test("a list of the modules of many experts is read", () => {
  const name = (i: number) => `backbone.layers.${i % 40}.mixer.experts.${i}.up_proj`;
  const layers = Array.from({ length: 40_960 }, (_, i) => [name(i), { quant_algo: "NVFP4", group_size: 16 }]);
  const config = { quant_algo: "MIXED_PRECISION", quantized_layers: Object.fromEntries(layers) };
  expect(read({ quant_method: "modelopt", ...config })).toMatchObject({ fp8Inputs: false });
  expect(read(null, config)).toMatchObject({ fp8Inputs: false });
});

test("refuses what is malformed, and methods that are not read", () => {
  const refused = (config: object) => engineError("ERR_CONFIG", () => read(config)).message;
  expect(refused({ quant_method: "fp8", activation_scheme: 3 })).toContain("activation_scheme: expected a string");
  expect(refused({ quant_method: "compressed-tensors", config_groups: [1] })).toContain(
    "config_groups: expected objects of weights and input_activations",
  );
  expect(refused({ quant_method: "compressed-tensors", config_groups: { a: { weights: 8 } } })).toContain(
    "expected an object with type and num_bits",
  );
  expect(engineError("ERR_MODEL_UNSUPPORTED", () => read({ quant_method: "bitsandbytes" })).message).toContain(
    "quant_method",
  );
});
