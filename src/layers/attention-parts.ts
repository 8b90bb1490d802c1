import { EngineError } from "../errors";
import { concatRows } from "../weights/concat-rows";
import type { MatrixDescriptor } from "../weights/descriptor";
import { initial } from "../weights/dummy";
import { pickRows } from "../weights/pick";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import { Linear, type LinearPart } from "./linear";
import type { NormWeight } from "./rms-norm";
import { headShare, length, type Rank, times } from "./share";

export interface AttentionConfig {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** null: no position encoding. */
  readonly rope: {
    readonly rotaryDim: number;
    /** [rotaryDim / 2]: radians per position. */
    readonly invFreq: readonly number[];
    /** Factor of the cosines and sines. */
    readonly attentionFactor: number;
  } | null;
  /** Factor of q * k before the softmax. */
  readonly scale: number;
  /** Whether the projections to q, k and v, and back, add one. */
  readonly bias: boolean;
  /** A norm of each head of q and k before they are rotated; default none. */
  readonly headNorm?: { readonly eps: number; readonly weight: NormWeight };
  /** Whether q_proj has a gate beside each head of q, whose sigmoid multiplies what the head has found. */
  readonly outputGate?: boolean;
  /** Factors of the input and of the output; default 1. */
  readonly inputScale?: number;
  readonly outputScale?: number;
  /** Where the caller projects rows: a factor that q, k and v still need, above 0. Pages hold k and v without it. Excludes headNorm. */
  readonly givenScale?: number;
}

/** Value = code * scale, in a cache of e4m3. */
export interface KvScales {
  readonly kScale: number;
  readonly vScale: number;
}

export const noScales: KvScales = { kScale: 1, vScale: 1 };

/** Where a checkpoint was calibrated for a cache of e4m3; by the names of compressed-tensors, then of ModelOpt. */
export function loadScales({ loader }: ModelBuild, weights: WeightScope): KvScales {
  const scale = (name: "k_scale" | "v_scale", projection: string): number => {
    const stored = weights.scalar(name) ?? weights.scope(projection).scalar(name);
    if (stored === null) return 1;
    const value = loader.scalar(stored);
    if (value > 0 && value < Infinity) return value;
    const message = `${stored.name}: expected a scale above 0, got ${value}; the checkpoint was not calibrated to its end`;
    throw new EngineError("ERR_WEIGHTS", message, { subject: stored.name });
  };
  return { kScale: scale("k_scale", "k_proj"), vScale: scale("v_scale", "v_proj") };
}

/** What a rank has of attention: its configuration with the rank's heads only, and which of all these are. */
export function attentionShare(config: AttentionConfig, place: Rank) {
  const share = headShare(config.heads, config.kvHeads, place);
  return { config: { ...config, heads: length(share.heads), kvHeads: length(share.groups) }, share };
}

/** How the projection back takes this rank's heads. `config` is of all ranks. */
export function attentionSum(config: AttentionConfig, build: ModelBuild) {
  const { heads } = build.share(config, attentionShare).share;
  return { columns: times(heads, config.headDim), summed: true };
}

/** The projections to q, k and v: three matrices that take the same rows. `config` is of all ranks. */
export function qkvParts(config: AttentionConfig, build: ModelBuild, weights: WeightScope): LinearPart[] {
  const { heads, kvHeads, headDim } = config;
  const { share } = build.share(config, attentionShare);
  const part = (name: string, all: number, own: Range) => ({
    ...{ weights: weights.scope(name), n: all * headDim },
    rows: [times(own, headDim)],
  });
  return [
    part("q_proj", heads, share.heads),
    part("k_proj", kvHeads, share.groups),
    part("v_proj", kvHeads, share.groups),
  ];
}

/** The projections as one, to rows of q, k, v and the gates. */
export function qkvOf(config: AttentionConfig, hiddenSize: number, build: ModelBuild, weights: WeightScope): Linear {
  if (config.outputGate) return gatedQkv(config, hiddenSize, build, weights);
  const { bias, inputScale } = config;
  return Linear.stacked(build, qkvParts(config, build, weights), hiddenSize, bias, { inputScale });
}

/** q_proj has a head's queries, then its gates. */
function gatedQkv(config: AttentionConfig, hiddenSize: number, build: ModelBuild, weights: WeightScope): Linear {
  const { headDim, bias, inputScale } = config;
  const [q, k, v] = qkvParts(config, build, weights) as [LinearPart, LinearPart, LinearPart];
  const [first, end] = build.share(config, attentionShare).share.heads;
  const stack = <D extends MatrixDescriptor>(load: (part: LinearPart) => D): D[] => {
    const both = load({ ...q, n: 2 * q.n });
    const half = (second: 0 | 1) =>
      pickRows(
        both,
        Array.from({ length: end - first }, (_, i) => {
          const begin = (2 * (first + i) + second) * headDim;
          return [begin, begin + headDim];
        }),
      );
    const own = (part: LinearPart) => build.rows(load(part), part.rows!);
    return [half(0), own(k), own(v), half(1)];
  };
  const weight = stack(({ weights: own, n }) => own.matrix([n, hiddenSize]));
  const added = bias ? concatRows(stack(({ weights: own, n }) => own.tensor("bias", [n], initial.zeros))) : null;
  return Linear.of(build, weight, added, { inputScale });
}
