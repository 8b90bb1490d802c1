import { z } from "zod";
import type { CodesForm, CodesOf } from "../../weights/dummy-codes";
import { flag, integer, orElse, text } from "./fields";
import type { ConfigFile } from "./json-file";
import { blockSizes, declaredQuantization, isFp8, type QuantizationMethod, roundedSide } from "./quantization";

const fp8 = (quantizeX: boolean, group: number | null = null): CodesForm => ({ codes: "e4m3", group, quantizeX });
const nvfp4: CodesForm = { codes: "e2m1", group: 16, quantizeX: false };
const integers = (codes: "u4" | "i8", groupSize: number | null = null): CodesForm => ({
  codes,
  group: groupSize === -1 ? null : groupSize,
  quantizeX: false,
});

const modelOptForms: Readonly<Record<string, CodesForm>> = {
  FP8: fp8(true),
  FP8_PER_CHANNEL_PER_TOKEN: fp8(true),
  FP8_PB_WO: fp8(false, 128),
  NVFP4: nvfp4,
  W4A16_NVFP4: nvfp4,
};

const names = z.array(text().refine(isPattern, { error: "a regular expression after re:" }), {
  error: "a list of names of modules",
});
const noNames = orElse(names, []);

const layersError = "an object of names of modules, each with a quant_algo";
const groupError = "an object of targets, weights and input_activations";
const groupSize = integer(-1, 2 ** 20, "how many columns share a scale, or -1 for all");

const fields = {
  fp8: z.object({
    weight_block_size: blockSizes.nullish(),
    modules_to_not_convert: noNames,
    ignored_layers: noNames,
  }),
  int4: z.object({
    bits: orElse(integer(4, 4, "4"), 4),
    group_size: orElse(groupSize, 128),
    lm_head: orElse(flag(), false),
    modules_to_not_convert: noNames,
  }),
  modelOpt: z.object({
    quant_algo: orElse(text(), ""),
    quantized_layers: orElse(
      z.record(z.string(), z.object({ quant_algo: text() }, { error: layersError }), { error: layersError }),
      {},
    ),
    exclude_modules: noNames,
    ignore: noNames,
  }),
  compressedTensors: z.object({
    config_groups: z.record(
      z.string(),
      z.object(
        {
          targets: orElse(names, ["Linear"]),
          weights: roundedSide.extend({ group_size: groupSize.nullish(), block_structure: blockSizes.nullish() }),
          input_activations: roundedSide.nullish(),
        },
        { error: groupError },
      ),
      { error: groupError },
    ),
    ignore: noNames,
  }),
};

const readers: Readonly<Record<QuantizationMethod, (file: ConfigFile) => CodesOf>> = {
  fp8(file) {
    const { weight_block_size, modules_to_not_convert, ignored_layers } = file.fields(fields.fp8);
    const floats = ["lm_head", ...modules_to_not_convert, ...ignored_layers];
    return allBut(floats, () => fp8(true, weight_block_size?.[1]));
  },
  gptq: readInt4,
  awq: readInt4,
  "auto-round": readInt4,
  modelopt(file) {
    const { quant_algo, quantized_layers, exclude_modules, ignore } = file.fields(fields.modelOpt);
    const formOf = (algorithm: string) => modelOptForms[algorithm] ?? file.unsupported("quant_algo", "FP8 or NVFP4");
    const layers = Object.entries(quantized_layers).map(
      ([name, layer]) => [listing([name]), formOf(layer.quant_algo)] as const,
    );
    const all = quant_algo === "MIXED_PRECISION" ? null : formOf(quant_algo);
    const listed: CodesOf = (module) => layers.find(([isListed]) => isListed(module))?.[1] ?? all;
    return allBut([...exclude_modules, ...ignore], listed);
  },
  "compressed-tensors"(file) {
    const { config_groups, ignore } = file.fields(fields.compressedTensors);
    const groups = Object.entries(config_groups).map(([key, { targets, weights, input_activations }]) => {
      const { type, num_bits, group_size, block_structure } = weights;
      const forms: Readonly<Record<string, CodesForm>> = {
        "float 8": fp8(isFp8(input_activations), block_structure?.[1]),
        "float 4": nvfp4,
        "int 8": integers("i8", group_size),
        "int 4": integers("u4", group_size),
      };
      const form = forms[`${type} ${num_bits}`];
      const isIn = targets.includes("Linear") ? () => true : listing(targets);
      return [isIn, form ?? file.unsupported(`config_groups.${key}.weights`, "4 or 8 bits, float or int")] as const;
    });
    return allBut(ignore, (module) => groups.find(([isIn]) => isIn(module))?.[1] ?? null);
  },
};

/**
 * Which matrices a model directory says are codes: for weights that are made up, where no tensor tells. Throws ERR_CONFIG for what
 * is malformed, ERR_MODEL_UNSUPPORTED for codes that are not read.
 */
export function readStoredCodes(dir: string): CodesOf {
  const declared = declaredQuantization(dir);
  return declared === null ? () => null : readers[declared.method](declared.file);
}

function readInt4(file: ConfigFile): CodesOf {
  const { group_size, lm_head, modules_to_not_convert } = file.fields(fields.int4);
  const form = integers("u4", group_size);
  return allBut(lm_head ? modules_to_not_convert : ["lm_head", ...modules_to_not_convert], () => form);
}

function allBut(floats: readonly string[], codesOf: CodesOf): CodesOf {
  const areFloats = listing(floats);
  return (module) => (areFloats(module) ? null : codesOf(module));
}

function isPattern(name: string): boolean {
  try {
    return listing([name]) !== null;
  } catch {
    return false;
  }
}

/** What checkpoints write before the model's own names of modules. */
const roots = ["", "model.", "backbone.", "model.language_model."];

/**
 * Whether modules are listed: a name stands for all that lies below it, * for any characters, and after "re:" comes a regular
 * expression of how a name begins.
 */
function listing(listed: readonly string[]): (module: string) => boolean {
  const patterns = listed.map((name) => {
    if (name.startsWith("re:")) return new RegExp(`^(?:${name.slice(3)})`);
    const escaped = name.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
    return new RegExp(`^${escaped}(?:\\.|$)`);
  });
  return (module) => patterns.some((pattern) => roots.some((root) => pattern.test(root + module)));
}
