/** A layer of a model, with sizes that the model's config.json gives. */
export interface Layer {
  readonly model: string;
}

/** The sizes of one Mamba-2 layer and of the matrices around it. */
export interface Geometry extends Layer {
  readonly hidden: number;
  /** H heads of P channels. */
  readonly heads: number;
  readonly headDim: number;
  /** G groups share B and C; N is the size of a channel's state. */
  readonly groups: number;
  readonly stateSize: number;
  readonly convKernel: number;
  /** Tokens of a chunk of the prefill. */
  readonly chunkSize: number;
  readonly vocab: number;
}

const usual = { headDim: 64, stateSize: 128, convKernel: 4, chunkSize: 256 };

/** Published models with Mamba-2 layers. Models that share a shape share its cases. */
export const geometries: readonly Geometry[] = [
  { ...usual, model: "mamba2-130m", hidden: 768, heads: 24, groups: 1, vocab: 50_288 },
  { ...usual, model: "mamba2-2.7b", hidden: 2560, heads: 80, groups: 1, vocab: 50_288 },
  { ...usual, model: "codestral-7b", hidden: 4096, heads: 128, groups: 8, vocab: 32_768 },
  { ...usual, model: "bamba-9b", hidden: 4096, heads: 128, groups: 1, vocab: 128_256 },
  { ...usual, model: "granite-4.0-h-small", hidden: 4096, heads: 128, groups: 1, vocab: 100_352 },
  { ...usual, model: "granite-4.0-h-tiny", hidden: 1536, heads: 48, groups: 1, vocab: 100_352 },
  { ...usual, model: "nemotron-h-8b", hidden: 4096, heads: 128, groups: 8, chunkSize: 128, vocab: 131_072 },
  {
    ...usual,
    model: "nemotron-nano-9b-v2",
    hidden: 4480,
    heads: 128,
    headDim: 80,
    groups: 8,
    chunkSize: 128,
    vocab: 131_072,
  },
  { ...usual, model: "zamba2-7b", hidden: 3584, heads: 112, groups: 2, stateSize: 64, vocab: 32_000 },
  { ...usual, model: "falcon-h1-1.5b", hidden: 2048, heads: 48, groups: 1, stateSize: 256, vocab: 65_537 },
];

/** Measured only when named: the bundled model's layer is small enough for any machine. */
export const bundledGeometry: Geometry = {
  ...usual,
  model: "storyteller-6m",
  hidden: 320,
  heads: 10,
  groups: 1,
  vocab: 4096,
};

/** The sizes of an attention layer. */
export interface AttentionLayer extends Layer {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Channels of a head that are rotated; 0: none. */
  readonly rotary: number;
}

export const attentionLayers: readonly AttentionLayer[] = [
  { model: "bamba-9b", heads: 32, kvHeads: 8, headDim: 128, rotary: 64 },
  { model: "granite-4.0-h-tiny", heads: 12, kvHeads: 4, headDim: 128, rotary: 0 },
  { model: "nemotron-nano-9b-v2", heads: 40, kvHeads: 8, headDim: 128, rotary: 0 },
  { model: "nemotron-3-nano-30b-a3b", heads: 32, kvHeads: 2, headDim: 128, rotary: 0 },
  { model: "falcon-h1-7b", heads: 12, kvHeads: 2, headDim: 128, rotary: 128 },
  { model: "zamba2-7b", heads: 32, kvHeads: 32, headDim: 224, rotary: 224 },
  { model: "qwen3.5-9b", heads: 16, kvHeads: 4, headDim: 256, rotary: 64 },
  { model: "qwen3.5-35b-a3b", heads: 16, kvHeads: 2, headDim: 256, rotary: 64 },
  // No model has these: heads of the sizes that other implementations are timed with.
  { model: "peers-d64", heads: 32, kvHeads: 8, headDim: 64, rotary: 64 },
  { model: "peers-d80", heads: 32, kvHeads: 8, headDim: 80, rotary: 80 },
];

/** The sizes of a mixture of experts. */
export interface ExpertsLayer extends Layer {
  readonly hidden: number;
  readonly experts: number;
  /** Experts of a token. */
  readonly topK: number;
  /** Channels between an expert's projections. */
  readonly size: number;
  /** SwiGLU with a softmax over the selected; or else a squared ReLU with a sigmoid of each. */
  readonly gated: boolean;
}

export const expertsLayers: readonly ExpertsLayer[] = [
  { model: "granite-4.0-h-tiny", hidden: 1536, experts: 64, topK: 6, size: 512, gated: true },
  { model: "granite-4.0-h-small", hidden: 4096, experts: 72, topK: 10, size: 768, gated: true },
  { model: "nemotron-3-nano-30b-a3b", hidden: 2688, experts: 128, topK: 6, size: 1856, gated: false },
  { model: "qwen3.5-35b-a3b", hidden: 2048, experts: 256, topK: 8, size: 512, gated: true },
];

/** The sizes of a dense MLP. */
export interface MlpLayer extends Layer {
  readonly size: number;
  readonly gated: boolean;
}

export const mlpLayers: readonly MlpLayer[] = [
  { model: "bamba-9b", size: 14_336, gated: true },
  { model: "nemotron-nano-9b-v2", size: 15_680, gated: false },
  { model: "falcon-h1-7b", size: 12_288, gated: true },
  { model: "qwen3.5-9b", size: 12_288, gated: true },
];

/** The sizes of a gated delta net. */
export interface DeltaLayer extends Layer {
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Tokens of a chunk of the prefill. */
  readonly chunkSize: number;
}

const delta = { keyDim: 128, valueDim: 128, chunkSize: 64 };

export const deltaLayers: readonly DeltaLayer[] = [
  { ...delta, model: "qwen3.5-9b", keyHeads: 16, valueHeads: 32 },
  { ...delta, model: "qwen3.5-27b", keyHeads: 16, valueHeads: 48 },
  // No model has these: sizes that others publish times of.
  { ...delta, model: "peers-2-8", keyHeads: 2, valueHeads: 8 },
  { ...delta, model: "peers-8-16", keyHeads: 8, valueHeads: 16 },
];

/** Channels of x and of the gate. */
export const innerOf = ({ heads, headDim }: Geometry): number => heads * headDim;
/** Channels of x, B and C, which go through the convolution together. */
export const convDimOf = (g: Geometry): number => innerOf(g) + 2 * g.groups * g.stateSize;
/** Columns that in_proj makes: the gate, the convolution's channels, a time step for each head. */
export const projectedOf = (g: Geometry): number => innerOf(g) + convDimOf(g) + g.heads;
/** Values of one sequence's state. */
export const stateOf = (g: Geometry): number => innerOf(g) * g.stateSize;
/** Such as "H=128 P=64 N=128 G=8". */
export const shapeOf = (g: Geometry): string => `H=${g.heads} P=${g.headDim} N=${g.stateSize} G=${g.groups}`;
