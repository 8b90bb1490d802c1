import { z } from "zod";
import { flag, orElse, size, text, within } from "./fields";
import { type ConfigFile, isPresent } from "./json-file";
import { type Rope, type RopeParameters, ropeOf } from "./rope";

const positive = within(Number.MIN_VALUE, Number.MAX_VALUE, "a number above 0");
const share = within(Number.MIN_VALUE, 1, "a number above 0 and at most 1");
const positions = size(2 ** 31 - 1);
const factors = z.array(positive, { error: "a list of numbers above 0" });

const topSchema = z.object({
  rope_theta: positive.nullish(),
  partial_rotary_factor: share.nullish(),
  original_max_position_embeddings: positions.nullish(),
});

const sharedFields = { rope_theta: positive.nullish(), partial_rotary_factor: share.nullish() };

const schemas = {
  default: z.object(sharedFields),
  linear: z.object({ ...sharedFields, factor: positive }),
  dynamic: z.object({ ...sharedFields, factor: positive }),
  proportional: z.object({ ...sharedFields, factor: orElse(positive, 1) }),
  llama3: z.object({
    ...sharedFields,
    factor: positive,
    low_freq_factor: positive,
    high_freq_factor: positive,
    original_max_position_embeddings: positions.nullish(),
  }),
  yarn: z.object({
    ...sharedFields,
    factor: positive.nullish(),
    original_max_position_embeddings: positions.nullish(),
    attention_factor: positive.nullish(),
    mscale: positive.nullish(),
    mscale_all_dim: positive.nullish(),
    beta_fast: orElse(positive, 32),
    beta_slow: orElse(positive, 1),
    truncate: orElse(flag(), true),
  }),
  longrope: z.object({
    ...sharedFields,
    factor: positive.nullish(),
    original_max_position_embeddings: positions.nullish(),
    attention_factor: positive.nullish(),
    short_factor: factors,
    long_factor: factors,
  }),
};

type RopeType = keyof typeof schemas;

export interface RopeDefaults {
  readonly headDim: number;
  readonly maxPositions: number;
  /**
   * The share of a head that is rotated where config.json says nothing; "all" where the family's class has no such share,
   * whatever config.json says.
   */
  readonly partialRotaryFactor: number | "all";
}

/**
 * RoPE as transformers 5 writes it (rope_parameters, with everything inside) and as transformers 4 did (rope_theta,
 * partial_rotary_factor and rope_scaling, whose rope_type was once called type).
 */
export function readRope(file: ConfigFile, defaults: RopeDefaults): Rope {
  const parameters = readRopeParameters(file, defaults);
  const { headDim, maxPositions } = defaults;
  const rope = ropeOf(parameters, headDim, maxPositions);
  if (rope.rotaryDim < 2 || rope.rotaryDim % 2 !== 0) {
    file.unsupported("partial_rotary_factor", `a share of the ${headDim} channels of a head that is an even number`);
  }
  return rope;
}

export function readRopeParameters(file: ConfigFile, defaults: RopeDefaults): RopeParameters {
  const top = file.fields(topSchema);
  const key = isPresent(file.value.rope_scaling) ? "rope_scaling" : "rope_parameters";
  if (!isPresent(file.value[key])) {
    return { type: "default", ...common(top, {}, defaults) };
  }
  const nested = file.under(key).respelled({ type: ["rope_type", "type"] });
  const { type } = nested.fields(z.object({ type: orElse(text(), "default") }));
  if (!isRopeType(type)) return nested.unsupported("type", `one of ${Object.keys(schemas).join(", ")}`);
  const original = top.original_max_position_embeddings ?? undefined;
  const originalOf = (own: number | null | undefined) => original ?? own ?? defaults.maxPositions;
  switch (type) {
    case "default":
      return { type, ...common(top, nested.fields(schemas.default), defaults) };
    case "linear":
    case "proportional": {
      const fields = nested.fields(schemas[type]);
      return { type, ...common(top, fields, defaults), factor: fields.factor };
    }
    case "dynamic": {
      const fields = nested.fields(schemas.dynamic);
      return { type, ...common(top, fields, defaults), factor: fields.factor, maxPositions: defaults.maxPositions };
    }
    case "llama3": {
      const fields = nested.fields(schemas.llama3);
      return {
        type,
        ...common(top, fields, defaults),
        factor: fields.factor,
        lowFreqFactor: fields.low_freq_factor,
        highFreqFactor: fields.high_freq_factor,
        originalMaxPositions: originalOf(fields.original_max_position_embeddings),
      };
    }
    case "yarn": {
      const fields = nested.fields(schemas.yarn);
      const originalMaxPositions = originalOf(fields.original_max_position_embeddings);
      return {
        type,
        ...common(top, fields, defaults),
        factor: fields.factor ?? defaults.maxPositions / originalMaxPositions,
        originalMaxPositions,
        attentionFactor: fields.attention_factor ?? null,
        mscale: fields.mscale ?? null,
        mscaleAllDim: fields.mscale_all_dim ?? null,
        betaFast: fields.beta_fast,
        betaSlow: fields.beta_slow,
        truncate: fields.truncate,
      };
    }
    case "longrope": {
      const fields = nested.fields(schemas.longrope);
      const originalMaxPositions = originalOf(fields.original_max_position_embeddings);
      const shared = common(top, fields, defaults);
      const pairs = Math.ceil(Math.trunc(defaults.headDim * shared.partialRotaryFactor) / 2);
      for (const name of ["short_factor", "long_factor"] as const) {
        if (fields[name].length !== pairs) nested.reject(name, `${pairs} numbers, one for each pair of channels`);
      }
      return {
        type,
        ...shared,
        factor: fields.factor ?? defaults.maxPositions / originalMaxPositions,
        originalMaxPositions,
        attentionFactor: fields.attention_factor ?? null,
        shortFactor: fields.short_factor,
        longFactor: fields.long_factor,
      };
    }
  }
}

function isRopeType(type: string): type is RopeType {
  return Object.hasOwn(schemas, type);
}

type Shared = Partial<Record<"rope_theta" | "partial_rotary_factor", number | null | undefined>>;

function common(top: Shared, nested: Shared, { partialRotaryFactor }: RopeDefaults) {
  return {
    theta: nested.rope_theta ?? top.rope_theta ?? 10_000,
    partialRotaryFactor:
      partialRotaryFactor === "all"
        ? 1
        : (nested.partial_rotary_factor ?? top.partial_rotary_factor ?? partialRotaryFactor),
  };
}
