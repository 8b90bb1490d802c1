import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { isObject } from "../../json/value";
import { type QuantizationSettings, usualSettings } from "../../weights/formats/format";
import { orElse, size, text } from "./fields";
import { ConfigFile, isPresent } from "./json-file";

/** Values of quant_method whose tensors are read; how each tensor is stored is told by the tensors. */
const methods = ["fp8", "modelopt", "compressed-tensors", "gptq", "awq", "auto-round"] as const;
export type QuantizationMethod = (typeof methods)[number];

/** The kinds of format of ModelOpt's own file. */
const modelOptAlgorithms = [
  "FP8",
  "FP8_PER_CHANNEL_PER_TOKEN",
  "FP8_PB_WO",
  "NVFP4",
  "W4A16_NVFP4",
  "MIXED_PRECISION",
] as const;

/** How compressed-tensors rounds one side of a product. */
export const roundedSide = z.object(
  { type: orElse(text(), "int"), num_bits: orElse(size(64), 8) },
  { error: "an object with type and num_bits" },
);
const args = roundedSide.nullish();

export function isFp8(side: z.infer<typeof args>): boolean {
  return side?.type === "float" && side.num_bits === 8;
}

const groupsError = "objects of weights and input_activations";
const group = z.object({ weights: args, input_activations: args }, { error: groupsError });

export const blockSizes = z.tuple([size(2 ** 20), size(2 ** 20)], { error: "two sizes of a block, rows and columns" });

const fields = z.object({
  weight_block_size: orElse(blockSizes, usualSettings.fp8Block as [number, number]),
  checkpoint_format: orElse(text(), ""),
  activation_scheme: orElse(text(), ""),
  config_groups: orElse(z.record(z.string(), group, { error: groupsError }), {}),
});

/**
 * What a model directory says of its codes, in config.json's quantization_config or ModelOpt's hf_quant_config.json. Throws
 * ERR_CONFIG for what is malformed, ERR_MODEL_UNSUPPORTED for a method that is not read.
 */
export function readQuantization(dir: string): QuantizationSettings {
  const declared = declaredQuantization(dir);
  if (declared === null) return usualSettings;
  const { method, file } = declared;
  const { weight_block_size, checkpoint_format, activation_scheme, config_groups } = file.fields(fields);
  const groups = Object.values(config_groups).filter(({ weights }) => isFp8(weights));
  return {
    fp8Block: weight_block_size,
    fp8Inputs:
      method === "fp8"
        ? ["dynamic", "static"].includes(activation_scheme)
        : groups.length > 0 && groups.every(({ input_activations }) => isFp8(input_activations)),
    plainZeroPoints: checkpoint_format === "gptq_v2",
  };
}

/** The object that says it, with its method; null where a directory says nothing. Throws as readQuantization does. */
export function declaredQuantization(dir: string): { method: QuantizationMethod; file: ConfigFile } | null {
  const config = ConfigFile.read(join(dir, "config.json"));
  const text = isObject(config.value.text_config) ? config.under("text_config") : config;
  const holder = [config, text].find(({ value }) => isPresent(value.quantization_config));
  if (holder !== undefined) {
    const file = holder.under("quantization_config");
    const method = methods.find((each) => each === file.value.quant_method);
    return { method: method ?? file.unsupported("quant_method", `one of ${methods.join(", ")}`), file };
  }
  const path = join(dir, "hf_quant_config.json");
  if (!existsSync(path)) return null;
  const file = ConfigFile.read(path).under("quantization");
  const { quant_algo } = file.value;
  if (isPresent(quant_algo) && !modelOptAlgorithms.some((algorithm) => algorithm === quant_algo)) {
    return file.unsupported("quant_algo", `one of ${modelOptAlgorithms.join(", ")}`);
  }
  return { method: "modelopt", file };
}
