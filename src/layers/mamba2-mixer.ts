import { causalConv1dUpdate, causalConv1dVarlen } from "../ops/conv1d";
import { ssdChunkScan, ssdStateUpdate } from "../ops/ssd";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { Forward, LayerState } from "./forward";
import { Linear } from "./linear";
import { GatedRmsNorm, type RmsNorm } from "./rms-norm";

export interface Mamba2MixerConfig {
  readonly hiddenSize: number;
  /** H heads of P channels. */
  readonly numHeads: number;
  readonly headDim: number;
  /** G groups share B and C; N is the size of a channel's state. */
  readonly numGroups: number;
  readonly stateSize: number;
  readonly convKernel: number;
  readonly normEps: number;
  readonly useBias: boolean;
  readonly useConvBias: boolean;
  readonly dtMin: number;
  readonly dtMax: number;
}

/**
 * The Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060, section 8): project, convolve, state space, gated norm, project.
 * The only place that tells prefill rows, which come first, from decode rows.
 */
export class Mamba2Mixer {
  /** Channels of x and of the gate. */
  private readonly inner: number;
  /** Channels of x, B and C, which go through the convolution together. */
  private readonly convDim: number;
  private readonly inProj: Linear;
  private readonly outProj: Linear;
  private readonly norm: GatedRmsNorm;
  /** Of decode rows, which the state update gates; null where groups of channels leave that to `norm`. */
  private readonly gatedNorm: RmsNorm | null;
  /** Of all activations. */
  private readonly dtype: DType;
  private readonly conv: { weight: Tensor; bias: Tensor | undefined; silu: true };
  private readonly ssd: { a: Tensor; d: Tensor; dtBias: Tensor; dtMin: number; dtMax: number; dtSoftplus: true };

  constructor(
    private readonly config: Mamba2MixerConfig,
    /** Which entry of the state pool is this layer's. */
    private readonly index: number,
    loader: WeightLoader,
    weights: WeightScope,
  ) {
    const { hiddenSize, numHeads, headDim, numGroups, stateSize, convKernel, normEps, useBias, useConvBias } = config;
    this.inner = numHeads * headDim;
    this.convDim = this.inner + 2 * numGroups * stateSize;
    const { inner, convDim } = this;
    this.inProj = Linear.load(loader, weights.scope("in_proj"), [inner + convDim + numHeads, hiddenSize], useBias);
    this.conv = {
      weight: loader
        .vector(weights.tensor("conv1d.weight", [convDim, 1, convKernel]), (values) =>
          transpose(values, convDim, convKernel),
        )
        .view({ shape: [convKernel, convDim] }),
      bias: useConvBias ? loader.vector(weights.tensor("conv1d.bias", [convDim])) : undefined,
      silu: true,
    };
    this.ssd = {
      a: loader.vector(weights.tensor("A_log", [numHeads]), (values) => values.map((value) => -Math.exp(value))),
      d: loader.vector(weights.tensor("D", [numHeads])),
      dtBias: loader.vector(weights.tensor("dt_bias", [numHeads])),
      dtMin: config.dtMin,
      dtMax: config.dtMax,
      dtSoftplus: true,
    };
    this.norm = GatedRmsNorm.load(loader, weights.scope("norm"), inner, numGroups, normEps);
    this.gatedNorm = this.norm.ungated;
    this.dtype = loader.dtype;
    this.outProj = Linear.load(loader, weights.scope("out_proj"), [hiddenSize, inner], useBias);
  }

  /** residual [tokens, hidden] += the mixer of norm(residual). */
  forward(f: Forward, norm: RmsNorm, residual: Tensor): void {
    const { inner, convDim } = this;
    const state = f.state[this.index]!;
    const zxbcdt = this.inProj.forwardNormed(f, norm, residual, this.dtype);
    const z = zxbcdt.columns(0, [inner]);
    const dt = zxbcdt.columns(inner + convDim, [this.config.numHeads]);
    const xbc = this.convolve(f, zxbcdt.columns(inner, [convDim]), state.conv);
    const y = this.scan(f, xbc, dt, z, state.ssm);
    if (f.batch.prefill === null && this.gatedNorm !== null) {
      this.outProj.addNormedTo(f, this.gatedNorm, y, this.dtype, residual);
    } else {
      this.gateAndNormalise(f, y, z);
      this.outProj.addTo(f, y, residual);
    }
  }

  private convolve(f: Forward, x: Tensor, state: LayerState["conv"]): Tensor {
    const { numTokens, numPrefillTokens, prefill, decodeSlots } = f.batch;
    const out = f.arena.tensor(x.dtype, x.shape);
    if (prefill !== null) {
      const part = { x: x.rows(0, numPrefillTokens), out: out.rows(0, numPrefillTokens) };
      causalConv1dVarlen(f.stream, { ...part, ...this.conv, ...prefill, state });
    }
    if (decodeSlots !== null) {
      const part = { x: x.rows(numPrefillTokens, numTokens), out: out.rows(numPrefillTokens, numTokens) };
      causalConv1dUpdate(f.stream, { ...part, ...this.conv, slots: decodeSlots, state });
    }
    return out;
  }

  /** y [tokens, inner], that of decode rows gated if there is a gatedNorm. */
  private scan(f: Forward, xbc: Tensor, dt: Tensor, z: Tensor, state: LayerState["ssm"]): Tensor {
    const { numTokens, numPrefillTokens, prefill, decodeSlots } = f.batch;
    const { numHeads, headDim, numGroups, stateSize } = this.config;
    const out = f.arena.tensor(xbc.dtype, [numTokens, this.inner]);
    const x = xbc.columns(0, [numHeads, headDim]);
    const b = xbc.columns(this.inner, [numGroups, stateSize]);
    const c = xbc.columns(this.inner + numGroups * stateSize, [numGroups, stateSize]);
    const y = out.view({ shape: [numTokens, numHeads, headDim] });
    const part = (begin: number, end: number) => ({
      out: y.rows(begin, end),
      x: x.rows(begin, end),
      dt: dt.rows(begin, end),
      b: b.rows(begin, end),
      c: c.rows(begin, end),
    });
    if (prefill !== null) ssdChunkScan(f.stream, { ...part(0, numPrefillTokens), ...this.ssd, ...prefill, state });
    if (decodeSlots !== null) {
      const gate = this.gatedNorm && { z: z.rows(numPrefillTokens, numTokens).columns(0, [numHeads, headDim]) };
      const tokens = part(numPrefillTokens, numTokens);
      ssdStateUpdate(f.stream, { ...tokens, ...gate, ...this.ssd, slots: decodeSlots, state });
    }
    return out;
  }

  /**
   * In place on y. With a gatedNorm, a decode row goes through the roundings that it has in a step of decodes only, so
   * that its bits do not depend on who shares the step.
   */
  private gateAndNormalise(f: Forward, y: Tensor, z: Tensor): void {
    const { numTokens, numPrefillTokens, decodeSlots } = f.batch;
    const end = this.gatedNorm === null ? numTokens : numPrefillTokens;
    this.norm.forward(f, y.rows(0, end), z.rows(0, end));
    if (this.gatedNorm !== null && decodeSlots !== null) {
      const decodes = y.rows(end, numTokens);
      this.gatedNorm.forwardInto(f, decodes, decodes);
    }
  }
}

/** [rows, columns] -> [columns, rows]. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  return out;
}
