import { routerScoreCodes } from "../ops/codes";
import { experts, linearRoute, localExperts } from "../ops/moe";
import { tokenSlots } from "../step/fields/token-slots";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";
import { concatRows } from "../weights/concat-rows";
import { type MatrixDescriptor, reshaped } from "../weights/descriptor";
import { type Initial, initial } from "../weights/dummy";
import { pickRowsOfEach } from "../weights/pick";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ExpertsView, WeightView } from "../weights/view";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { Linear } from "./linear";
import { activationOf, isGated, type Mlp, type MlpKind, type MlpMatrices } from "./mlp";
import { type Input, rowsOf } from "./rms-norm";
import { channelShare, length, times, unitShare } from "./share";
import { type StepLoad, sumWork, type Work } from "./work";

export interface MoeConfig {
  /** Form of each expert. */
  readonly kind: MlpKind;
  readonly experts: number;
  /** Experts of a token. */
  readonly topK: number;
  /** Channels between an expert's projections. */
  readonly size: number;
  readonly router: {
    /**
     * What becomes a weight: softmax over the selected logits, softmax over all of them, or sigmoid of each, with a
     * correction bias that counts for the selection only.
     */
    readonly kind: "softmax_selected" | "softmax" | "sigmoid";
    /** Weights of a token are divided by their sum. */
    readonly normalise: boolean;
    /** Factor of the weights. */
    readonly scaling: number;
    /** Experts are selected within the `topkGroups` best of `groups` groups. */
    readonly groups: number;
    readonly topkGroups: number;
  };
  /** Width that tokens are projected to before the routed experts and back from after; null: none. */
  readonly latentSize: number | null;
  /** Whether the projections to and from latent rows add one. */
  readonly bias: boolean;
  readonly hiddenSize: number;
  /** Factor of what the routed experts give; default 1. */
  readonly outputScale?: number;
}

/** Where the weights of an MoE layer lie. */
export interface MoeWeights {
  /** weight [experts, hidden], and e_score_correction_bias of a router with a bias. */
  readonly router: WeightScope;
  /** All experts in one tensor for each projection, or a scope for each expert. */
  readonly experts: WeightScope;
  /** Has fc1_latent_proj and fc2_latent_proj, where latentSize is not null. */
  readonly latent?: WeightScope;
}

const correctionBias: Initial = { ...initial.zeros, f32: true };

/**
 * A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): a router sends each token to a few MLPs.
 */
export class Moe {
  private readonly router: WeightView;
  private readonly bias: Tensor | undefined;
  private readonly up: ExpertsView;
  private readonly down: ExpertsView;
  private readonly latent: { readonly to: Linear; readonly from: Linear } | null;
  /** Width of what experts take and give. */
  private readonly width: number;
  private readonly key: object;
  /** The shared expert, if one op can take it along. */
  private readonly beside: MlpMatrices | null;
  /** What this rank has: experts of its channels, and which of all experts. */
  private readonly config: MoeConfig;
  private readonly own: Range;

  /**
   * `all` is of all ranks, each of which has some channels of every expert, or some experts. `shared` is an expert that every token
   * uses.
   */
  constructor(
    all: MoeConfig,
    private readonly build: ModelBuild,
    weights: MoeWeights,
    private readonly shared: Mlp | null,
  ) {
    const { loader, place } = build;
    const { kind, experts, latentSize, hiddenSize, outputScale } = all;
    const whole = place.wholeExperts === true && experts >= place.ranks;
    const channels: Range = whole ? [0, all.size] : channelShare(all.size, place);
    const size = length(channels);
    this.own = whole ? unitShare(experts, 1, place) : [0, experts];
    this.config = { ...all, size };
    this.width = latentSize ?? hiddenSize;
    this.router = loader.matrix(weights.router.tensor("weight", [experts, hiddenSize]), { role: "exact" });
    if (all.router.kind === "sigmoid") {
      this.bias = loader.vector(weights.router.tensor("e_score_correction_bias", [experts], correctionBias));
    }
    const up = build.rows(upOf(weights.experts, all, this.width), [this.own]);
    const down = build.rows(stacked(weights.experts, ["down_proj"], experts, [this.width, all.size]), [this.own]);
    const rows = isGated(kind) ? [channels, times(channels, 1, all.size)] : [channels];
    this.up = loader.experts(size === all.size ? up : pickRowsOfEach(up, rows));
    this.down = loader.experts(build.columns(down, channels), { role: "residual" });
    this.latent =
      latentSize === null
        ? null
        : {
            to: Linear.load(build, weights.latent!.scope("fc1_latent_proj"), [latentSize, hiddenSize], all.bias),
            from: Linear.load(build, weights.latent!.scope("fc2_latent_proj"), [hiddenSize, latentSize], all.bias, {
              ...{ outputScale, summed: true },
            }),
          };
    const matrices = latentSize === null && shared !== null ? shared.matrices : null;
    this.beside = matrices?.kind === kind && matrices.outputScale === (outputScale ?? 1) ? matrices : null;
    const beside =
      this.beside === null ? "" : ` beside one of ${this.beside.up.size(0)}${this.beside.gate ? ", gated" : ""}`;
    this.key = build.shared(`rows of ${experts} experts of ${kind} ${size}, ${all.topK} for a token${beside}`);
    build.field(tokenSlots);
    build.idleParameters +=
      ((experts - all.topK) / experts) * (elementsOf(this.up.shape) + elementsOf(this.down.shape));
  }

  /** residual [tokens, hidden] += the experts of x [tokens, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    const { stream } = f;
    const { kind, router, outputScale = 1 } = this.config;
    const step = f.once(this.key, () => this.prepare(f));
    const rows = rowsOf(f, x);
    linearRoute(stream, {
      ids: step.ids,
      weights: step.weights,
      logits: step.logits,
      x: rows,
      weight: this.router.data,
      bias: this.bias,
      slots: step.slots,
      score: router.kind === "sigmoid" ? routerScoreCodes.sigmoid : routerScoreCodes.softmax,
      groups: router.groups,
      keptGroups: router.topkGroups,
      normalise: router.normalise || router.kind === "softmax_selected",
      scale: router.scaling,
    });
    const [first] = this.own;
    if (first > 0) localExperts(stream, { ids: step.ids, first });
    const input = step.latent ?? rows;
    this.latent?.to.of(f, rows, input);
    const beside = this.beside;
    experts(stream, {
      out: this.latent === null ? residual : input,
      x: input,
      ids: step.ids,
      weights: step.weights,
      up: this.up.data,
      down: this.down.data,
      sorted: step.sorted,
      between: step.between,
      products: step.products,
      sharedUp: beside?.up,
      sharedDown: beside?.down,
      sharedGate: beside?.gate,
      sharedBetween: step.sharedBetween,
      sharedFactors: step.sharedFactors,
      activation: activationOf[kind],
      gated: isGated(kind),
      alpha: this.latent === null ? outputScale : 1,
      accumulate: this.latent === null,
    });
    this.latent?.from.addTo(f, input, residual);
    if (beside === null) this.shared?.forward(f, rows, residual);
  }

  private prepare(f: Forward) {
    const { experts, topK, size } = this.config;
    const { arena, numTokens } = f;
    const { beside } = this;
    const pairs = numTokens * topK;
    const { dtype } = this.build;
    return {
      logits: arena.tensor("f32", [numTokens, experts]),
      ids: arena.tensor("i32", [numTokens, topK]),
      weights: arena.tensor("f32", [numTokens, topK]),
      sorted: arena.tensor("i32", [2 * pairs + length(this.own) + 1]),
      between: arena.tensor(dtype, [pairs, size]),
      products: arena.tensor(dtype, [pairs, this.width]),
      latent: this.latent === null ? null : arena.tensor(dtype, [numTokens, this.width]),
      sharedBetween: beside === null ? undefined : arena.tensor(dtype, [numTokens, beside.up.size(0)]),
      sharedFactors: beside?.gate === undefined ? undefined : arena.tensor(dtype, [numTokens, 1]),
      /** Padding uses no expert. */
      slots: f.view(tokenSlots)!,
    };
  }

  /** Counts, among the experts, those that some token is expected to use, if all are as likely. */
  work(load: Pick<StepLoad, "tokens">): Work {
    const { tokens } = load;
    const { experts, topK } = this.config;
    const elements = [this.up, this.down].reduce((sum, { shape: [, n, k] }) => sum + n * k, 0);
    const touched = 1 - (1 - topK / experts) ** tokens;
    const [n, k] = this.router.shape;
    return sumWork([
      { bytes: this.router.bytes, flops: 2 * tokens * n * k },
      { bytes: touched * (this.up.bytes + this.down.bytes), flops: 2 * tokens * topK * elements },
      ...(this.latent === null ? [] : [this.latent.to.work(load), this.latent.from.work(load)]),
      ...(this.shared === null ? [] : [this.shared.work(load)]),
    ]);
  }
}

function upOf(weights: WeightScope, { kind, experts, size }: MoeConfig, width: number): MatrixDescriptor {
  if (!isGated(kind)) return stacked(weights, ["up_proj"], experts, [size, width]);
  if (weights.has("gate_up_proj")) return weights.tensor("gate_up_proj", [experts, 2 * size, width]);
  return stacked(weights, ["gate_proj", "up_proj"], experts, [size, width]);
}

/** [experts, names * n, k]: one tensor of that name, or the named ones of each expert below each other. */
function stacked(
  weights: WeightScope,
  names: readonly string[],
  experts: number,
  [n, k]: readonly [number, number],
): MatrixDescriptor {
  const [name, ...others] = names as [string];
  if (others.length === 0 && weights.has(name)) return weights.tensor(name, [experts, n, k]);
  const parts = Array.from({ length: experts }, (_, expert) =>
    names.map((part) => weights.scope(expert).scope(part).matrix([n, k])),
  );
  return reshaped(concatRows(parts.flat()), [experts, names.length * n, k]);
}
