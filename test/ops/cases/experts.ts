/** Runs one case of linear_route, or of experts, against the reference. */
import { type Activation, activationCodes, type RouterScore, routerScoreCodes } from "../../../src/ops/codes";
import { experts as launchExperts, linearRoute } from "../../../src/ops/moe";
import { packExpertWeights } from "../../../src/ops/pack-expert-weights";
import type { Tensor } from "../../../src/tensor/tensor";
import type { Backend } from "../../helpers/backends";
import { encode, type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";
import { packWeight } from "./linear";
import { drawIds } from "./moe";

export interface LinearRouteRow {
  readonly tokens: number;
  readonly experts: number;
  readonly k: number;
  readonly width: number;
  readonly score: RouterScore;
  readonly bias: boolean;
  readonly groups: number;
  readonly keptGroups: number;
  readonly normalise: boolean;
  readonly padding: boolean; // every third token
  readonly dtype: FloatDType; // of x
  readonly weightDtype: FloatDType;
  readonly xPad: number;
  readonly shift: number; // of x
}

export const linearRouteBase: LinearRouteRow = {
  tokens: 3,
  experts: 16,
  k: 3,
  width: 64,
  score: "softmax",
  bias: false,
  groups: 1,
  keptGroups: 1,
  normalise: true,
  padding: false,
  dtype: "f32",
  weightDtype: "f32",
  xPad: 0,
  shift: 0,
};

/** Few integers, whose sums are exact in any order: equal logits are equal wherever they are computed. */
const integers = (rng: Rng, n: number, most: number) => Float32Array.from(rng.uniform(n, -most, most), Math.round);

export async function checkLinearRoute(backend: Backend, row: LinearRouteRow): Promise<void> {
  const rng = new Rng(0);
  const { tokens, experts, k, width } = row;
  const x = integers(rng, tokens * width, 2);
  const weight = integers(rng, experts * width, 1).map((v) => v / 16);
  const bias = row.bias ? Float32Array.from(rng.normal(experts)) : null;
  const padded = (t: number) => row.padding && t % 3 === 1;
  const placed = backend.place(row.dtype, [tokens, width], { values: x, rowPad: row.xPad, shift: row.shift });
  const ids = backend.place("i32", [tokens, k]);
  const weights = backend.place("f32", [tokens, k]);
  linearRoute(backend.stream, {
    ids: ids.tensor,
    weights: weights.tensor,
    logits: backend.place("f32", [tokens, experts]).tensor,
    x: placed.tensor,
    weight: packWeight(
      backend,
      { n: experts, k: width, sourceDtype: row.weightDtype, weightDtype: row.weightDtype },
      weight,
    ),
    ...(bias && { bias: backend.floats([experts], bias) }),
    ...(row.padding && { slots: backend.integers(Array.from({ length: tokens }, (_, t) => (padded(t) ? -1 : t))) }),
    score: routerScoreCodes[row.score],
    groups: row.groups,
    keptGroups: row.keptGroups,
    normalise: row.normalise,
    scale: 1.5,
  });
  const logits = reference.linear(tokens, experts, width, x, weight, null);
  const wanted = Array.from({ length: tokens }, (_, t) =>
    padded(t)
      ? { ids: new Array<number>(k).fill(-1), weights: new Array<number>(k).fill(0) }
      : reference.route(logits.subarray(t * experts, (t + 1) * experts), { ...row, bias, scale: 1.5 }),
  );
  expect(Array.from(await ids.values())).toEqual(wanted.flatMap((token) => token.ids));
  const want = wanted.flatMap((token) => token.weights);
  assertClose("weights", [tokens, k], await weights.values(), want, { rtol: 2e-5, atol: 1e-7 });
  await placed.assertUnchanged("x");
}

export interface ExpertsRow {
  readonly tokens: number;
  readonly experts: number;
  readonly k: number;
  readonly ids: "random" | "one" | "last" | "none";
  readonly padding: boolean; // every third token
  readonly width: number;
  readonly size: number;
  readonly shared: number; // its size; 0 = none
  readonly sharedGate: boolean;
  readonly activation: Activation;
  readonly gated: boolean;
  readonly alpha: number;
  readonly accumulate: boolean;
  readonly inPlace: boolean; // out is x
  readonly dtype: FloatDType; // of x
  readonly weightDtype: FloatDType;
  readonly outDtype: FloatDType;
  readonly xPad: number;
  readonly outPad: number;
  readonly shift: number; // of x and out
}

export const expertsBase: ExpertsRow = {
  tokens: 3,
  experts: 8,
  k: 2,
  ids: "random",
  padding: false,
  width: 64,
  size: 48,
  shared: 0,
  sharedGate: false,
  activation: "silu",
  gated: true,
  alpha: 1,
  accumulate: true,
  inPlace: false,
  dtype: "f32",
  weightDtype: "f32",
  outDtype: "f32",
  xPad: 0,
  outPad: 0,
  shift: 0,
};

/** Activations and weights of 16 bits, and a residual stream in f32. */
export const expertsBf16 = { dtype: "bf16", weightDtype: "bf16", outDtype: "f32" } as const;

export function expertsInputs(row: ExpertsRow) {
  const rng = new Rng(0);
  const { tokens, experts, k, width, size, shared } = row;
  const products = row.gated ? 2 : 1;
  const matrices = (count: number, n: number, m: number) =>
    rounded(row.weightDtype, rng.normal(count * n * m, 0, m ** -0.5));
  return {
    ids: drawIds(row),
    x: rounded(row.dtype, rng.normal(tokens * width)),
    weights: Float32Array.from(rng.uniform(tokens * k, 0, 1)),
    up: matrices(experts, products * size, width),
    down: matrices(experts, width, size),
    sharedUp: matrices(1, products * shared, width),
    sharedDown: matrices(1, width, shared),
    sharedGate: matrices(1, 1, width),
    before: row.accumulate ? rounded(row.outDtype, rng.normal(tokens * width)) : null,
  };
}

export type ExpertsInputs = ReturnType<typeof expertsInputs>;

export async function launch(backend: Backend, row: ExpertsRow, inputs: ExpertsInputs): Promise<Float32Array> {
  const { tokens, experts, k, width, size, shared, dtype, weightDtype, shift } = row;
  const products = row.gated ? 2 : 1;
  const pairs = tokens * k;
  const matrix = (n: number, m: number, values: Float32Array) =>
    packWeight(backend, { n, k: m, sourceDtype: weightDtype, weightDtype }, values);
  const stacked = (n: number, m: number, values: Float32Array): Tensor => {
    const words = encode(weightDtype, values);
    const source = words instanceof Uint16Array ? words : values;
    return backend.keep(packExpertWeights(backend.stream, source, [experts, n, m], weightDtype, weightDtype));
  };
  const x = backend.place(dtype, [tokens, width], { values: inputs.x, rowPad: row.xPad, shift });
  const { before } = inputs;
  const out = row.inPlace
    ? x
    : backend.place(row.outDtype, [tokens, width], { ...(before && { values: before }), rowPad: row.outPad, shift });
  launchExperts(backend.stream, {
    out: out.tensor,
    x: x.tensor,
    ids: backend.place("i32", [tokens, k], { values: inputs.ids }).tensor,
    weights: backend.floats([tokens, k], inputs.weights),
    up: stacked(products * size, width, inputs.up),
    down: stacked(width, size, inputs.down),
    sorted: backend.place("i32", [2 * pairs + experts + 1]).tensor,
    between: backend.place(dtype, [pairs, size]).tensor,
    products: backend.place(dtype, [pairs, width]).tensor,
    ...(shared > 0 && {
      sharedUp: matrix(products * shared, width, inputs.sharedUp),
      sharedDown: matrix(width, shared, inputs.sharedDown),
      sharedBetween: backend.place(dtype, [tokens, products * shared]).tensor,
    }),
    ...(row.sharedGate && {
      sharedGate: matrix(1, width, inputs.sharedGate),
      sharedFactors: backend.place(dtype, [tokens, 1]).tensor,
    }),
    activation: activationCodes[row.activation],
    gated: row.gated,
    alpha: row.alpha,
    accumulate: row.accumulate,
  });
  const y = (await out.values()) as Float32Array;
  if (!row.inPlace) await x.assertUnchanged("x");
  return y;
}

export async function checkExperts(backend: Backend, row: ExpertsRow): Promise<void> {
  const { tokens, experts, k, width, size, shared } = row;
  const inputs = expertsInputs(row);
  const got = await launch(backend, row, inputs);
  const f = reference.activations[row.activation];
  const products = row.gated ? 2 : 1;
  const mlp = (x: Float32Array, up: Float32Array, down: Float32Array, between: number) => {
    const y = reference.linear(1, products * between, width, x, up, null);
    const h = Float64Array.from({ length: between }, (_, i) => f(y[i]!) * (row.gated ? y[between + i]! : 1));
    return reference.linear(1, width, between, h, down, null);
  };
  const want = Float64Array.from({ length: tokens * width }, (_, i) => inputs.before?.[i] ?? 0);
  for (let t = 0; t < tokens; t++) {
    const x = inputs.x.subarray(t * width, (t + 1) * width);
    const add = (y: Float64Array, factor: number) => {
      for (let c = 0; c < width; c++) want[t * width + c]! += Math.fround(row.alpha) * factor * y[c]!;
    };
    for (let j = 0; j < k; j++) {
      const e = inputs.ids[t * k + j]!;
      if (e < 0 || e >= experts) continue;
      const up = inputs.up.subarray(e * products * size * width, (e + 1) * products * size * width);
      const down = inputs.down.subarray(e * width * size, (e + 1) * width * size);
      add(mlp(x, up, down, size), inputs.weights[t * k + j]!);
    }
    if (shared === 0) continue;
    const gate = row.sharedGate ? reference.sigmoid(reference.linear(1, 1, width, x, inputs.sharedGate, null)[0]!) : 1;
    add(mlp(x, inputs.sharedUp, inputs.sharedDown, shared), gate);
  }
  assertClose("out", [tokens, width], got, want, toleranceOf(row.dtype, row.weightDtype, row.outDtype));
}
