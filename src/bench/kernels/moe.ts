import { activationCodes, routerScoreCodes } from "../../ops/codes";
import { groupedLinear, moeCombine, route, sortByExpert } from "../../ops/moe";
import type { ExpertsLayer } from "../geometries";
import type { Inputs } from "../inputs";
import { ACTIVATION, type Build, type CasesOf, FLOAT, type KernelCase } from "../kernel-case";

/** Bytes of an id, an offset or a row. */
const WORD = 4;

/** Decode batches, and a prefill. */
const batches = [1, 8, 64, 256, 8192];
const CHECKED_TOKENS = 64;
/** Rows and columns of an expert's weight in a check. */
const CHECKED_SIZE = 512;

type Op = "route" | "sort_by_expert" | "grouped_linear" | "moe_combine";

/** The cases of one op, `text` beside the number of tokens. */
function casesOf(
  op: Op,
  layer: ExpertsLayer,
  text: (layer: ExpertsLayer) => string,
  build: (layer: ExpertsLayer, tokens: number) => Build,
  work: (tokens: number) => { bytes: number; flops: number },
): KernelCase[] {
  const size = Math.min(layer.size, CHECKED_SIZE);
  const hidden = Math.min(layer.hidden, CHECKED_SIZE);
  const short = { ...layer, size, hidden };
  return batches.map((tokens) => {
    const checked = Math.min(tokens, CHECKED_TOKENS);
    return {
      op,
      name: `${text(layer)}, B=${tokens}`,
      geometry: layer,
      tokens,
      stateDtype: null,
      ...work(tokens),
      timed: build(layer, tokens),
      checked: build(short, checked),
      checkedName: `${text(short)}, B=${checked}`,
    };
  });
}

const choiceOf = ({ topK, experts }: ExpertsLayer) => `${topK} of ${experts}`;

export const routeCases: CasesOf<ExpertsLayer> = (layer) =>
  casesOf(
    "route",
    layer,
    (of) => `${choiceOf(of)}, ${of.gated ? "softmax" : "sigmoid with bias"}`,
    routing,
    (tokens) => ({
      bytes: tokens * (layer.experts * FLOAT + layer.topK * (WORD + FLOAT)),
      // An exponential and a sum of each logit, a comparison for each that is chosen.
      flops: tokens * layer.experts * (2 + layer.topK),
    }),
  );

export const sortByExpertCases: CasesOf<ExpertsLayer> = (layer) =>
  casesOf("sort_by_expert", layer, choiceOf, sorting, (tokens) => ({
    bytes: (3 * tokens * layer.topK + layer.experts + 1) * WORD,
    flops: 0,
  }));

/** Both projections. Of the weights those of experts that have a row. */
export const groupedLinearCases: CasesOf<ExpertsLayer> = (layer) => {
  const cases = (part: "up" | "down") =>
    casesOf(
      "grouped_linear",
      layer,
      (of) => {
        const { n, k } = matrixOf(of, part);
        return `${part}${of.gated && part === "up" ? " with gate" : ""} ${n}x${k}, ${choiceOf(of)}`;
      },
      (of, tokens) => product(of, part, tokens),
      (tokens) => {
        const { n, k, columns } = matrixOf(layer, part);
        const rows = tokens * layer.topK;
        const weights = Math.min(layer.experts, rows) * n * k;
        const x = (part === "up" ? tokens : rows) * k;
        return { bytes: (weights + x + rows * columns) * ACTIVATION, flops: 2 * rows * n * k };
      },
    );
  return [...cases("up"), ...cases("down")];
};

export const moeCombineCases: CasesOf<ExpertsLayer> = (layer) =>
  casesOf(
    "moe_combine",
    layer,
    (of) => `${of.topK} rows of ${of.hidden} into f32`,
    combining,
    (tokens) => ({
      // The rows, and the residual in and out.
      bytes: tokens * layer.hidden * (layer.topK * ACTIVATION + 2 * FLOAT),
      flops: 2 * tokens * layer.topK * layer.hidden,
    }),
  );

function matrixOf({ hidden, size, gated }: ExpertsLayer, part: "up" | "down") {
  if (part === "down") return { n: hidden, k: size, columns: hidden };
  return { n: gated ? 2 * size : size, k: hidden, columns: size };
}

/** Experts of each token, as many rows for one as for another. */
function idsOf({ topK, experts }: ExpertsLayer, tokens: number): number[] {
  return Array.from({ length: tokens * topK }, (_, i) => (i * 5) % experts);
}

/** What sort_by_expert gives. */
function sorted(inputs: Inputs, layer: ExpertsLayer, tokens: number) {
  const { topK, experts } = layer;
  const ids = idsOf(layer, tokens);
  const order = ids.map((_, pair) => pair).sort((a, b) => ids[a]! - ids[b]! || a - b);
  const positions = new Int32Array(ids.length);
  for (const [row, pair] of order.entries()) positions[pair] = row;
  const offsets = new Int32Array(experts + 1);
  for (const id of ids) offsets[id + 1]! += 1;
  for (let i = 0; i < experts; i++) offsets[i + 1]! += offsets[i]!;
  return {
    rowToken: inputs.words(order.map((pair) => Math.floor(pair / topK))),
    offsets: inputs.words(offsets),
    positions: inputs.words(positions, [tokens, topK]),
  };
}

function routing({ experts, topK, gated }: ExpertsLayer, tokens: number): Build {
  return (inputs) => {
    const args = {
      ids: inputs.output("i32", [tokens, topK]),
      weights: inputs.output("f32", [tokens, topK]),
      logits: inputs.normal("f32", [tokens, experts]),
      bias: gated ? undefined : inputs.normal("f32", [experts], 0.1),
      score: gated ? routerScoreCodes.softmax : routerScoreCodes.sigmoid,
      normalise: true,
    };
    const { ids, weights } = args;
    return { launch: () => route(inputs.stream, args), outputs: { ids, weights } };
  };
}

function sorting(layer: ExpertsLayer, tokens: number): Build {
  const { topK, experts } = layer;
  return (inputs) => {
    const rowToken = inputs.output("i32", [tokens * topK]);
    const offsets = inputs.output("i32", [experts + 1]);
    const positions = inputs.output("i32", [tokens, topK]);
    const ids = inputs.words(idsOf(layer, tokens), [tokens, topK]);
    return {
      launch: () => sortByExpert(inputs.stream, { rowToken, offsets, positions, ids }),
      outputs: { rowToken, offsets, positions },
    };
  };
}

function product(layer: ExpertsLayer, part: "up" | "down", tokens: number): Build {
  const { n, k, columns } = matrixOf(layer, part);
  const rows = tokens * layer.topK;
  return (inputs) => {
    const { rowToken, offsets } = sorted(inputs, layer, tokens);
    const args = {
      out: inputs.output("bf16", [rows, columns]),
      x: inputs.normal("bf16", [part === "up" ? tokens : rows, k]),
      weight: inputs.experts(layer.experts, n, k),
      offsets,
      rowToken: part === "up" ? rowToken : undefined,
      activation: part === "down" ? activationCodes.identity : activationCodes[layer.gated ? "silu" : "relu2"],
      gated: part === "up" && layer.gated,
    };
    return { launch: () => groupedLinear(inputs.stream, args), outputs: { out: args.out } };
  };
}

function combining(layer: ExpertsLayer, tokens: number): Build {
  const { hidden, topK } = layer;
  return (inputs) => {
    const { positions } = sorted(inputs, layer, tokens);
    const out = inputs.normal("f32", [tokens, hidden]);
    const y = inputs.normal("bf16", [tokens * topK, hidden]);
    const weights = inputs.normal("f32", [tokens, topK]);
    return {
      launch: () => moeCombine(inputs.stream, { out, y, weights, positions, accumulate: true }),
      outputs: { out },
    };
  };
}
