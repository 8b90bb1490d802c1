import { PAGE_SIZE } from "../../engine/policy/kv-pages";
import { attentionVarlen, pagedAttention, ropeStoreKv } from "../../ops/attention";
import type { AttentionLayer } from "../geometries";
import type { Inputs } from "../inputs";
import { ACTIVATION, type Build, type CasesOf, type KernelCase } from "../kernel-case";
import { type Packing, packings, pagedDecode, pagedPrefill, shortened, tokensOf } from "../sequences";

/** Decodes: rows, and tokens of each one's context. */
const decodes = [
  [1, 1024],
  [1, 65_536],
  [8, 8192],
  [64, 1024],
  [64, 8192],
  [256, 1024],
] as const;
const stored = [1, 64, 256, 8192];
const CHECKED_ROWS = 8;
const CHECKED_TOKENS = 300;
/** Keys and values of all rows of a decode, in bytes: a case with more is left out. */
const MOST_PAGES = 48 * 2 ** 30;

const shapeOf = ({ heads, kvHeads, headDim }: AttentionLayer) => `${heads}/${kvHeads} heads of ${headDim}`;

/** Causal, from the first token on. */
export const attentionVarlenCases: CasesOf<AttentionLayer> = (layer) =>
  packings.map((packing): KernelCase => {
    const { heads, kvHeads, headDim } = layer;
    const short = shortened(packing, CHECKED_TOKENS);
    const nameOf = (name: string) => `${shapeOf(layer)}, ${name}`;
    const pairs = packing.lengths.reduce((sum, length) => sum + (length * (length + 1)) / 2, 0);
    return {
      op: "attention_varlen",
      name: nameOf(packing.name),
      geometry: layer,
      tokens: tokensOf(packing),
      stateDtype: null,
      // q and out, keys and values.
      bytes: tokensOf(packing) * 2 * (heads + kvHeads) * headDim * ACTIVATION,
      // A product of a query and a key, and one of the weight and a value, for each pair of tokens.
      flops: 4 * pairs * heads * headDim,
      timed: prefill(layer, packing),
      checked: prefill(layer, short),
      checkedName: nameOf(short.name),
    };
  });

export const pagedAttentionCases: CasesOf<AttentionLayer> = (layer) => {
  const { heads, kvHeads, headDim } = layer;
  const nameOf = (rows: number, context: number) => `${shapeOf(layer)}, B=${rows}, context ${context}`;
  const pagesOf = (rows: number, context: number) => rows * context * 2 * kvHeads * headDim * ACTIVATION;
  return decodes
    .filter(([rows, context]) => pagesOf(rows, context) <= MOST_PAGES)
    .map(([rows, context]): KernelCase => {
      const checked = [Math.min(rows, CHECKED_ROWS), Math.min(context, 5 * CHECKED_TOKENS)] as const;
      return {
        op: "paged_attention",
        name: nameOf(rows, context),
        geometry: layer,
        tokens: rows,
        stateDtype: null,
        bytes: pagesOf(rows, context) + 2 * rows * heads * headDim * ACTIVATION,
        flops: 4 * rows * context * heads * headDim,
        timed: decode(layer, rows, context),
        checked: decode(layer, ...checked),
        checkedName: nameOf(...checked),
      };
    });
};

export const ropeStoreKvCases: CasesOf<AttentionLayer> = (layer) =>
  stored.map((tokens): KernelCase => {
    const { heads, kvHeads, headDim, rotary } = layer;
    const checked = Math.min(tokens, CHECKED_TOKENS);
    const nameOf = (count: number) => `${shapeOf(layer)}, ${rotary} rotated, B=${count}`;
    return {
      op: "rope_store_kv",
      name: nameOf(tokens),
      geometry: layer,
      tokens,
      stateDtype: null,
      // k and v in and, in pages, out; what is rotated of q in and out.
      bytes: tokens * (4 * kvHeads * headDim + 2 * heads * rotary) * ACTIVATION,
      // Two products and a sum for each rotated channel.
      flops: 3 * tokens * (heads + kvHeads) * rotary,
      timed: store(layer, tokens),
      checked: store(layer, checked),
      checkedName: nameOf(checked),
    };
  });

function pagesOf(inputs: Inputs, { kvHeads, headDim }: AttentionLayer, pages: number) {
  const shape = [pages, kvHeads, PAGE_SIZE, headDim];
  return { kPages: inputs.normal("bf16", shape), vPages: inputs.normal("bf16", shape) };
}

/** Queries and what becomes of them. */
function queries(inputs: Inputs, { heads, headDim }: AttentionLayer, tokens: number) {
  const shape = [tokens, heads, headDim];
  return { q: inputs.normal("bf16", shape), out: inputs.output("bf16", shape), scale: headDim ** -0.5 };
}

function prefill(layer: AttentionLayer, packing: Packing): Build {
  return (inputs) => {
    const { context, pages } = pagedPrefill(inputs, packing.lengths, layer.headDim);
    const args = { ...context, ...pagesOf(inputs, layer, pages), ...queries(inputs, layer, tokensOf(packing)) };
    return { launch: () => attentionVarlen(inputs.stream, args), outputs: { out: args.out } };
  };
}

function decode(layer: AttentionLayer, rows: number, length: number): Build {
  return (inputs) => {
    const { context, pages } = pagedDecode(inputs, new Array<number>(rows).fill(length), layer.kvHeads, layer.headDim);
    const items = context.splitItems.size(0);
    const args = {
      ...context,
      ...pagesOf(inputs, layer, pages),
      ...queries(inputs, layer, rows),
      partialOut: inputs.output("f32", [items, layer.heads, layer.headDim]),
      partialLse: inputs.output("f32", [items, layer.heads]),
    };
    return { launch: () => pagedAttention(inputs.stream, args), outputs: { out: args.out } };
  };
}

/** As in the layer, q, k and v are slices of one row. Up to 256 tokens decode, more are a prompt. */
function store(layer: AttentionLayer, tokens: number): Build {
  const { heads, kvHeads, headDim, rotary } = layer;
  return (inputs) => {
    const isDecode = tokens <= 256;
    const { context, pages } = isDecode
      ? pagedDecode(inputs, new Array<number>(tokens).fill(100), kvHeads, headDim)
      : pagedPrefill(inputs, [tokens], headDim);
    const row = inputs.normal("bf16", [tokens, (heads + 2 * kvHeads) * headDim]);
    const q = inputs.keep(row.columns(0, [heads, headDim]));
    const args = {
      q,
      k: inputs.keep(row.columns(heads * headDim, [kvHeads, headDim])),
      v: inputs.keep(row.columns((heads + kvHeads) * headDim, [kvHeads, headDim])),
      positions: context.positions,
      slotMapping: context.slotMapping,
      invFreq:
        rotary === 0
          ? undefined
          : inputs.floats(Array.from({ length: rotary / 2 }, (_, i) => 10_000 ** ((-2 * i) / rotary))),
      ...pagesOf(inputs, layer, pages),
    };
    const { kPages, vPages } = args;
    return { launch: () => ropeStoreKv(inputs.stream, args), outputs: { row, kPages, vPages } };
  };
}
