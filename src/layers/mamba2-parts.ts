import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { LinearPart } from "./linear";
import type { GatedNorm } from "./rms-norm";
import { type HeadShare, headShare, length, type Rank, times } from "./share";

export interface Mamba2MixerConfig {
  readonly hiddenSize: number;
  /** H heads of P channels. */
  readonly heads: number;
  readonly headDim: number;
  /** G groups share B and C; N is the size of a channel's state. */
  readonly groups: number;
  readonly stateSize: number;
  readonly convKernel: number;
  /** Tokens of a chunk of the scan; changes speed, not the result. */
  readonly chunkSize: number;
  readonly inProjBias: boolean;
  readonly outProjBias: boolean;
  readonly convBias: boolean;
  readonly dtMin: number;
  readonly dtMax: number;
  /** The norm of the gated channels, each of `groups` parts apart; null where they are only gated. */
  readonly norm: GatedNorm | null;
  /** Factors of the input, of the parts of in_proj's output, and of the output; default 1. */
  readonly inputScale?: number;
  readonly partScales?: Readonly<Record<"z" | "x" | "b" | "c" | "dt", number>>;
  readonly outputScale?: number;
}

/** What a rank has of a mixer: its configuration with the rank's heads and groups only, and which of all these are. */
export interface MixerShare {
  readonly config: Mamba2MixerConfig;
  readonly heads: HeadShare;
  /** Whether a group of the norm's channels lies on several ranks, here or elsewhere: all ranks have to know. */
  readonly splitsNorm: boolean;
}

export function mixerShare(config: Mamba2MixerConfig, place: Rank): MixerShare {
  const heads = headShare(config.heads, config.groups, place);
  const own = { ...config, heads: length(heads.heads), groups: length(heads.groups) };
  const { norm } = config;
  const groupHeads = config.heads / (norm?.groups ?? 1);
  const isWhole = (rank: number) => {
    const { heads: some, contributes } = headShare(config.heads, config.groups, { ...place, rank });
    return contributes && some.every((head) => head % groupHeads === 0);
  };
  const splitsNorm = norm !== null && !Array.from({ length: place.ranks }, (_, rank) => isWhole(rank)).every(Boolean);
  return { config: own, heads, splitsNorm };
}

/** Channels of x and of the gate; of x, B and C, which go through the convolution together. */
export function sizesOf({ heads, headDim, groups, stateSize }: Mamba2MixerConfig) {
  const inner = heads * headDim;
  return { inner, convDim: inner + 2 * groups * stateSize };
}

/** A rank's of x, B and C. */
export function convChannels(config: Mamba2MixerConfig, { heads, groups }: HeadShare, first = 0): Range[] {
  const { headDim, stateSize } = config;
  const b = first + sizesOf(config).inner;
  return [
    times(heads, headDim, first),
    times(groups, stateSize, b),
    times(groups, stateSize, b + config.groups * stateSize),
  ];
}

/** The rows of in_proj: gate, x, B and C, time steps. `config` is of all ranks. */
export function inProjPart(config: Mamba2MixerConfig, build: ModelBuild, weights: WeightScope): LinearPart {
  const { inner, convDim } = sizesOf(config);
  const { heads: share } = build.share(config, mixerShare);
  const { heads } = share;
  return {
    weights: weights.scope("in_proj"),
    n: inner + convDim + config.heads,
    rows: [times(heads, config.headDim), ...convChannels(config, share, inner), times(heads, 1, inner + convDim)],
  };
}

/** Factors of the input and of all outputs. The second is the gate's, so that it needs no more; restScales has what others do. */
export function inProjScales({ inputScale = 1, partScales }: Mamba2MixerConfig) {
  return { inputScale, outputScale: partScales?.z || 1 };
}

/** What is left of the parts' factors. The convolution's taps take those of x, B and C along, which are linear in them. */
export function restScales(config: Mamba2MixerConfig): NonNullable<Mamba2MixerConfig["partScales"]> {
  const { z, x, b, c, dt } = config.partScales ?? { z: 1, x: 1, b: 1, c: 1, dt: 1 };
  const { outputScale } = inProjScales(config);
  return { z: z / outputScale, x: x / outputScale, b: b / outputScale, c: c / outputScale, dt: dt / outputScale };
}

/** A factor for each channel of the convolution. */
export function tapScales(config: Mamba2MixerConfig): number[] {
  const { heads, headDim, groups, stateSize } = config;
  const { x, b, c } = restScales(config);
  const part = (factor: number, width: number) => Array<number>(width).fill(factor);
  return [...part(x, heads * headDim), ...part(b, groups * stateSize), ...part(c, groups * stateSize)];
}
