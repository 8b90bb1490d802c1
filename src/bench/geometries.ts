/** The sizes of one Mamba-2 layer and of the matrices around it, as its model's config.json gives them. */
export interface Geometry {
  readonly model: string;
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
