import { activation, linearActivation } from "../ops/activation";
import { activationCodes } from "../ops/codes";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { Linear, type LinearPart, type Projection } from "./linear";
import { type Input, rowsOf } from "./rms-norm";
import { channelShare, length, times } from "./share";
import { type StepLoad, sumWork, type Work } from "./work";

/** swiglu: down(silu(gate) * up); gelu_glu: with the exact GELU; relu2: down(relu(up)^2). */
export type MlpKind = "swiglu" | "gelu_glu" | "relu2";

export interface MlpConfig {
  readonly kind: MlpKind;
  /** Channels between the projections. */
  readonly size: number;
  readonly bias: boolean;
  /** Factor of the gate before its activation; default 1. */
  readonly gateScale?: number;
  /** Factor of the output; default 1. */
  readonly outputScale?: number;
}

/** Rows of a projection up from which it takes the activation along; before that, the norm (rms_norm_linear). */
const WIDE = 6144;

/** What multiplies the output of an MLP: sigmoid(gate(x)), one number for each row. */
export type MlpGate = Linear;

/** Packed weights of an MLP, as ops that know more than one of them take them. */
export interface MlpMatrices {
  readonly kind: MlpKind;
  readonly up: Tensor;
  readonly down: Tensor;
  readonly gate: Tensor | undefined;
  readonly outputScale: number;
}

export const activationOf: Readonly<Record<MlpKind, number>> = {
  swiglu: activationCodes.silu,
  gelu_glu: activationCodes.gelu,
  relu2: activationCodes.relu2,
};

export function isGated(kind: MlpKind): boolean {
  return kind !== "relu2";
}

/** Two projections with an activation between them; a gated one (Shazeer 2020, arXiv 2002.05202) projects up twice. */
export class Mlp {
  /** Key of the rows between the projections, which all MLPs of one width share. */
  private readonly key: object;

  private readonly config: MlpConfig;

  /** `all` is of all ranks; `up` gives [rows, size], or gate and up beside each other, [rows, 2 size], of this one. */
  constructor(
    all: MlpConfig,
    private readonly build: ModelBuild,
    private readonly up: Projection,
    private readonly down: Linear,
    private readonly gate: MlpGate | null = null,
  ) {
    this.config = { ...all, size: length(channelShare(all.size, build.place)) };
    this.key = build.shared(`rows of an MLP of ${all.kind} ${this.config.size}`);
  }

  /** All that it is made of; null if its projections are of several tensors, biased or scaled on the way. */
  get matrices(): MlpMatrices | null {
    const { kind, gateScale = 1, outputScale = 1 } = this.config;
    const up = this.up instanceof Linear ? this.up.matrix(1) : null;
    const down = this.down.matrix(outputScale);
    const gate = this.gate === null ? undefined : this.gate.matrix(1);
    if (gateScale !== 1 || up === null || down === null || gate === null) return null;
    return { kind, up, down, gate, outputScale };
  }

  /** `gate`: see MlpGate; a gated MLP has no biases. */
  static load(
    config: MlpConfig & { readonly hiddenSize: number },
    build: ModelBuild,
    weights: WeightScope,
    gate: MlpGate | null = null,
  ): Mlp {
    const { size, bias, hiddenSize, outputScale } = config;
    const up = Linear.stacked(build, upParts(config, build, weights), hiddenSize, bias);
    const down = Linear.load(build, weights.scope("down_proj"), [hiddenSize, size], bias, {
      ...{ outputScale, role: "residual" },
      ...mlpSum(config, build),
    });
    return new Mlp(config, build, up, down, gate);
  }

  /** residual [rows, hidden] += the MLP of x [rows, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    this.down.addTo(f, this.between(f, x), residual);
  }

  /** The same without a residual. */
  forwardInto(f: Forward, x: Input, out: Tensor): void {
    this.down.of(f, this.between(f, x), out);
  }

  private between(f: Forward, x: Input): Tensor {
    const { kind, gateScale = 1 } = this.config;
    const { projected, gate, up, factors } = f.once(this.key, () => this.prepare(f));
    const weight = this.up instanceof Linear && projected.size(1) >= WIDE ? this.up.matrix(1) : null;
    const code = activationOf[kind];
    if (weight === null) {
      this.up.of(f, x, projected);
      activation(f.stream, { out: gate, x: gate, up, activation: code, scale: gateScale });
    } else {
      const args = { out: projected, x: rowsOf(f, x), weight, activation: code, gated: isGated(kind) };
      linearActivation(f.stream, { ...args, scale: gateScale });
    }
    if (this.gate !== null) {
      this.gate.of(f, x, factors);
      // Before the projection down: the rows are narrower here.
      activation(f.stream, { out: gate, x: factors, up: gate, activation: activationCodes.sigmoid });
    }
    return gate;
  }

  private prepare(f: Forward) {
    const { kind, size } = this.config;
    const { dtype } = this.build;
    const projected = f.arena.tensor(dtype, [f.numTokens, isGated(kind) ? 2 * size : size]);
    const [gate, up] = isGated(kind)
      ? [projected.columns(0, [size]), projected.columns(size, [size])]
      : [projected, undefined];
    return { projected, gate, up, factors: f.arena.tensor(dtype, [f.numTokens, 1]) };
  }

  work(load: Pick<StepLoad, "tokens">): Work {
    return sumWork([this.up, this.down, ...(this.gate === null ? [] : [this.gate])].map((part) => part.work(load)));
  }
}

/** How the projection down takes this rank's channels, of `size` of all ranks. */
export function mlpSum({ size }: Pick<MlpConfig, "size">, { place }: ModelBuild) {
  return { columns: channelShare(size, place), summed: true };
}

/** What projects up: one matrix, or a gate and another in one tensor or in two. `size` is of all ranks. */
export function upParts(
  config: Pick<MlpConfig, "kind" | "size">,
  build: ModelBuild,
  weights: WeightScope,
): LinearPart[] {
  const { kind, size } = config;
  const one = (name: string) => ({ weights: weights.scope(name), n: size, rows: [channelShare(size, build.place)] });
  if (!isGated(kind)) return [one("up_proj")];
  if (weights.scope("gate_up_proj").hasMatrix()) return [gateUpPart(config, build, weights)];
  return ["gate_proj", "up_proj"].map(one);
}

/** A gate and what it multiplies, in one tensor. */
export function gateUpPart({ size }: Pick<MlpConfig, "size">, { place }: ModelBuild, weights: WeightScope): LinearPart {
  const own = channelShare(size, place);
  return { weights: weights.scope("gate_up_proj"), n: 2 * size, rows: [own, times(own, 1, size)] };
}
