/** Runs one case of route, of sort_by_expert and of moe_combine against the reference. */
import { type RouterScore, routerScoreCodes } from "../../../src/ops/codes";
import { moeCombine, route, sortByExpert } from "../../../src/ops/moe";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import * as reference from "../../helpers/reference";
import { Rng } from "../../helpers/rng";

export interface RouteRow {
  readonly tokens: number;
  readonly experts: number;
  readonly k: number;
  readonly score: RouterScore;
  readonly bias: "random" | "negative" | null;
  readonly groups: number;
  readonly keptGroups: number;
  readonly normalise: boolean;
  readonly scale: number;
  readonly levels: number; // how many values logits have; 0 = any
  readonly padding: boolean; // every third token
  readonly rowPad: number;
}

export const routeBase: RouteRow = {
  tokens: 7,
  experts: 16,
  k: 3,
  score: "softmax",
  bias: null,
  groups: 1,
  keptGroups: 1,
  normalise: true,
  scale: 1,
  levels: 0,
  padding: false,
  rowPad: 0,
};

/** Biases are larger than the differences between scores: they decide. */
const biases = {
  random: (rng: Rng, n: number) => rng.normal(n),
  negative: (rng: Rng, n: number) => rng.uniform(n, -3, -1.5), // every biased score is below zero
};

export async function checkRoute(backend: Backend, row: RouteRow): Promise<void> {
  const rng = new Rng(0);
  const { tokens, experts, k } = row;
  const logits = Float32Array.from(rng.normal(tokens * experts), (x) =>
    row.levels > 0 ? Math.floor(Math.abs(x) * 7) % row.levels : x,
  );
  const bias = row.bias && Float32Array.from(biases[row.bias](rng, experts));
  const padded = (t: number) => row.padding && t % 3 === 1;
  const placed = backend.place("f32", [tokens, experts], { values: logits, rowPad: row.rowPad });
  const ids = backend.place("i32", [tokens, k]);
  const weights = backend.place("f32", [tokens, k]);
  route(backend.stream, {
    ids: ids.tensor,
    weights: weights.tensor,
    logits: placed.tensor,
    ...(bias && { bias: backend.floats([experts], bias) }),
    ...(row.padding && { slots: backend.integers(Array.from({ length: tokens }, (_, t) => (padded(t) ? -1 : t))) }),
    score: routerScoreCodes[row.score],
    groups: row.groups,
    keptGroups: row.keptGroups,
    normalise: row.normalise,
    scale: row.scale,
  });
  const wanted = Array.from({ length: tokens }, (_, t) =>
    padded(t)
      ? { ids: new Array<number>(k).fill(-1), weights: new Array<number>(k).fill(0) }
      : reference.route(logits.subarray(t * experts, (t + 1) * experts), { ...row, bias }),
  );
  expect(Array.from(await ids.values())).toEqual(wanted.flatMap((token) => token.ids));
  const want = wanted.flatMap((token) => token.weights);
  assertClose("weights", [tokens, k], await weights.values(), want, { rtol: 1e-5, atol: 1e-7 });
  await placed.assertUnchanged("logits");
}

export interface SortRow {
  readonly tokens: number;
  readonly experts: number;
  readonly k: number;
  readonly ids: "random" | "one" | "last" | "none"; // which experts: any, all the same, the last few, no one
  readonly padding: boolean; // every third token
}

export const sortBase: SortRow = { tokens: 7, experts: 16, k: 3, ids: "random", padding: false };

/** [tokens, k], each row without repetition. */
export function drawIds({ tokens, experts, k, ids, padding }: SortRow): number[] {
  const rng = new Rng(1);
  return Array.from({ length: tokens }, (_, t) => {
    if (ids === "none" || (padding && t % 3 === 1)) return new Array<number>(k).fill(-1);
    if (ids === "one") return new Array<number>(k).fill(Math.floor(experts / 2));
    const order = reference.ranking(rng.uniform(experts, 0, 1));
    return ids === "last" ? Array.from({ length: k }, (_, j) => experts - 1 - j) : order.slice(0, k);
  }).flat();
}

/** What sort_by_expert must give. */
export function sorted(ids: readonly number[], experts: number, k: number) {
  const pairs = ids.map((_, i) => i).filter((i) => ids[i]! >= 0 && ids[i]! < experts);
  const rows = pairs.sort((a, b) => ids[a]! - ids[b]! || a - b);
  const rowToken = ids.map((_, r) => (r < rows.length ? Math.floor(rows[r]! / k) : -1));
  const offsets = Array.from({ length: experts + 1 }, (_, e) => rows.filter((i) => ids[i]! < e).length);
  const rowOf = new Map(rows.map((pair, row) => [pair, row]));
  const positions = ids.map((_, i) => rowOf.get(i) ?? -1);
  return { rowToken, offsets, positions };
}

export async function checkSort(backend: Backend, row: SortRow): Promise<void> {
  const { tokens, experts, k } = row;
  const values = drawIds(row);
  const ids = backend.place("i32", [tokens, k], { values });
  const rowToken = backend.place("i32", [tokens * k]);
  const offsets = backend.place("i32", [experts + 1]);
  const positions = backend.place("i32", [tokens, k]);
  sortByExpert(backend.stream, {
    rowToken: rowToken.tensor,
    offsets: offsets.tensor,
    positions: positions.tensor,
    ids: ids.tensor,
  });
  const got = {
    rowToken: Array.from(await rowToken.values()),
    offsets: Array.from(await offsets.values()),
    positions: Array.from(await positions.values()),
  };
  expect(got).toEqual(sorted(values, experts, k));
  await ids.assertUnchanged("ids");
}

export interface CombineRow {
  readonly tokens: number;
  readonly k: number;
  readonly width: number;
  readonly padding: boolean;
  readonly alpha: number;
  readonly accumulate: boolean;
  readonly dtype: FloatDType; // of y
  readonly outDtype: FloatDType;
  readonly yPad: number;
  readonly outPad: number;
  readonly shift: number;
}

export const combineBase: CombineRow = {
  tokens: 7,
  k: 3,
  width: 96,
  padding: false,
  alpha: 1,
  accumulate: false,
  dtype: "f32",
  outDtype: "f32",
  yPad: 0,
  outPad: 0,
  shift: 0,
};

export async function checkCombine(backend: Backend, row: CombineRow): Promise<void> {
  const rng = new Rng(0);
  const { tokens, k, width, dtype, outDtype, shift } = row;
  const pairs = tokens * k;
  const y = rounded(dtype, rng.normal(pairs * width));
  const weights = Float32Array.from(rng.uniform(pairs, 0, 1));
  const before = row.accumulate ? rounded(outDtype, rng.normal(tokens * width)) : null;
  const order = reference.ranking(rng.uniform(pairs, 0, 1));
  // No pair of a padding token has a row, and neither has the first pair of all.
  const positions = order.map((r, i) => (row.padding && (Math.floor(i / k) % 3 === 1 || i === 0) ? -1 : r));
  const placed = backend.place(dtype, [pairs, width], { values: y, rowPad: row.yPad, shift });
  const out = backend.place(outDtype, [tokens, width], {
    ...(before && { values: before }),
    rowPad: row.outPad,
    shift,
  });
  moeCombine(backend.stream, {
    out: out.tensor,
    y: placed.tensor,
    weights: backend.floats([tokens, k], weights),
    positions: backend.place("i32", [tokens, k], { values: positions }).tensor,
    alpha: row.alpha,
    accumulate: row.accumulate,
  });
  const want = Float64Array.from({ length: tokens * width }, (_, i) => {
    const t = Math.floor(i / width);
    let sum = 0;
    for (let j = 0; j < k; j++) {
      const r = positions[t * k + j]!;
      if (r >= 0) sum += weights[t * k + j]! * y[r * width + (i % width)]!;
    }
    return Math.fround(row.alpha) * sum + (before?.[i] ?? 0);
  });
  assertClose("out", [tokens, width], await out.values(), want, toleranceOf(outDtype));
  await placed.assertUnchanged("y");
}
