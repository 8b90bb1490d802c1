/** Rotary position embedding, its scaling already worked out. */
export interface Rope {
  readonly theta: number;
  /** Leading channels of a head that are rotated: channel i with channel i + rotaryDim / 2. */
  readonly rotaryDim: number;
  /** [rotaryDim / 2]: radians per position, rounded to float32 as transformers rounds them. */
  readonly invFreq: readonly number[];
  /** Factor of the cosines and sines. */
  readonly attentionFactor: number;
}

/** What config.json says of RoPE, in one spelling. */
export type RopeParameters = {
  readonly theta: number;
  /** Share of a head's channels that is rotated, from its start. */
  readonly partialRotaryFactor: number;
} & (
  | { readonly type: "default" }
  | { readonly type: "linear" | "proportional"; readonly factor: number }
  | { readonly type: "dynamic"; readonly factor: number; readonly maxPositions: number }
  | YarnParameters
  | Llama3Parameters
  | LongRopeParameters
);

interface YarnParameters {
  readonly type: "yarn";
  readonly factor: number;
  readonly originalMaxPositions: number;
  readonly attentionFactor: number | null;
  readonly mscale: number | null;
  readonly mscaleAllDim: number | null;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** The range of corrected dimensions is rounded outwards. */
  readonly truncate: boolean;
}

interface Llama3Parameters {
  readonly type: "llama3";
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

interface LongRopeParameters {
  readonly type: "longrope";
  readonly factor: number;
  readonly originalMaxPositions: number;
  readonly attentionFactor: number | null;
  /** [rotaryDim / 2] each. */
  readonly shortFactor: readonly number[];
  readonly longFactor: readonly number[];
}

const round = Math.fround;

/**
 * Frequencies for heads of `headDim` channels in sequences of up to `length` positions, by the formulas of
 * transformers' modeling_rope_utils.py. `dynamic` and `longrope` depend on the length: transformers changes its mind while
 * a sequence grows, here the longest allowed one decides, because keys are rotated before they are cached.
 */
export function ropeOf(parameters: RopeParameters, headDim: number, length: number): Rope {
  const { theta, type } = parameters;
  const rotated = Math.trunc(headDim * parameters.partialRotaryFactor);
  const plain = () => inverseFrequencies(theta, rotated);
  const rope = (invFreq: readonly number[], attentionFactor = 1, rotaryDim = rotated): Rope => ({
    theta,
    rotaryDim,
    invFreq,
    attentionFactor,
  });
  switch (type) {
    case "default":
      return rope(plain());
    case "linear":
      return rope(plain().map((frequency) => round(frequency / round(parameters.factor))));
    case "proportional":
      return rope(proportional(parameters, headDim), 1, headDim);
    case "dynamic":
      return rope(inverseFrequencies(dynamicTheta(parameters, rotated, length), rotated));
    case "yarn":
      return rope(yarn(parameters, theta, rotated), yarnAttentionFactor(parameters));
    case "llama3":
      return rope(plain().map((frequency) => llama3(parameters, frequency)));
    case "longrope": {
      const { longFactor, shortFactor, originalMaxPositions } = parameters;
      const factors = length > originalMaxPositions ? longFactor : shortFactor;
      const wavelengths = powers(theta, rotated, rotated);
      return rope(
        wavelengths.map((power, i) => round(1 / round(round(factors[i]!) * power))),
        longRopeAttentionFactor(parameters),
      );
    }
  }
}

/** theta^(2i / dim) of the first count / 2 pairs, in float32. */
function powers(theta: number, count: number, dim: number): number[] {
  return Array.from({ length: Math.ceil(count / 2) }, (_, i) => round(round(theta) ** round((2 * i) / dim)));
}

function inverseFrequencies(theta: number, dim: number): number[] {
  return powers(theta, dim, dim).map((power) => round(1 / power));
}

/** All of the head is rotated, the channels beyond the share with frequency 0. */
function proportional({ theta, partialRotaryFactor, factor }: RopeParameters & { factor: number }, headDim: number) {
  const pairs = Math.floor((partialRotaryFactor * headDim) / 2);
  const frequencies = powers(theta, 2 * pairs, headDim).map((power) => round(round(1 / power) / round(factor)));
  return [...frequencies, ...Array<number>(headDim / 2 - pairs).fill(0)];
}

function dynamicTheta(
  { theta, factor, maxPositions }: RopeParameters & { factor: number; maxPositions: number },
  dim: number,
  length: number,
): number {
  if (length <= maxPositions) return theta;
  const stretch = (factor * length) / maxPositions - (factor - 1);
  return theta * stretch ** (dim / (dim - 2));
}

function yarn(parameters: YarnParameters, theta: number, dim: number): number[] {
  const { factor, originalMaxPositions, betaFast, betaSlow, truncate } = parameters;
  /** The dimension that turns so many times over the original context. */
  const dimensionOf = (rotations: number) =>
    (dim * Math.log(originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const [from, to] = [dimensionOf(betaFast), dimensionOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(from) : from, 0);
  const high = Math.min(truncate ? Math.ceil(to) : to, dim - 1);
  const width = low === high ? 0.001 : high - low;
  return powers(theta, dim, dim).map((power, i) => {
    const ramp = Math.min(Math.max(round(round(i - low) / round(width)), 0), 1);
    const extrapolated = round(1 - ramp);
    const interpolation = round(round(1 / round(factor * power)) * round(1 - extrapolated));
    return round(interpolation + round(round(1 / power) * extrapolated));
  });
}

function yarnAttentionFactor({ attentionFactor, factor, mscale, mscaleAllDim }: YarnParameters): number {
  if (attentionFactor !== null) return attentionFactor;
  const scaled = (by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? scaled(mscale) / scaled(mscaleAllDim) : scaled(1);
}

function llama3(parameters: Llama3Parameters, frequency: number): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = parameters;
  const wavelength = round((2 * Math.PI) / frequency);
  if (wavelength > originalMaxPositions / lowFreqFactor) return round(frequency / round(factor));
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency;
  const smooth = round(
    round(round(originalMaxPositions / wavelength) - lowFreqFactor) / (highFreqFactor - lowFreqFactor),
  );
  return round(round(round(round(1 - smooth) * frequency) / factor) + round(smooth * frequency));
}

function longRopeAttentionFactor({ attentionFactor, factor, originalMaxPositions }: LongRopeParameters): number {
  if (attentionFactor !== null) return attentionFactor;
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
}
