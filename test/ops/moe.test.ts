import { localExperts, route } from "../../src/ops/moe";
import { describeEachBackend } from "../helpers/backends";
import { cases, product } from "../helpers/table";
import { checkCombine, checkRoute, checkSort, combineBase, routeBase, type SortRow, sortBase } from "./cases/moe";

const deepseek = { score: "sigmoid", bias: "random", scale: 2.5 } as const;
const grouped = { ...deepseek, groups: 4, keptGroups: 2 } as const;

const routeTable = cases(routeBase, [
  {}, // a softmax over the selected ones
  { normalise: false }, // over all
  { tokens: 0 },
  { tokens: 1 },
  { tokens: 300 },
  { k: 1 },
  { k: 16 }, // every expert
  { experts: 1, k: 1 },
  { experts: 5, k: 5 },
  { experts: 33, k: 4 }, // one more than a warp has lanes
  { experts: 72, k: 10 },
  { experts: 128, k: 6 },
  { experts: 512, k: 22 },
  { experts: 1000, k: 40 }, // more of a token than a warp has lanes
  { scale: 2.5 },
  { rowPad: 5 },
  { padding: true },
  { levels: 3 }, // ties: the lower number wins
  { levels: 1, k: 7 }, // nothing but ties
  { ...deepseek },
  { ...deepseek, bias: null },
  { ...deepseek, bias: "negative" },
  { ...deepseek, normalise: false },
  { ...deepseek, padding: true, tokens: 20 },
  { ...deepseek, levels: 2, bias: null },
  { ...deepseek, experts: 128, k: 6, tokens: 65 },
  { ...deepseek, experts: 512, k: 22 },
  { ...grouped },
  { ...grouped, bias: "negative" }, // a dropped group is worse than any score below zero
  { ...grouped, bias: null, levels: 2 }, // groups tie, too
  { ...grouped, k: 8 }, // all experts of the groups that are kept
  { ...grouped, experts: 8, groups: 4, k: 4 }, // two in a group
  { ...grouped, experts: 256, groups: 8, keptGroups: 4, k: 8, tokens: 65 },
  { ...grouped, keptGroups: 4, k: 16 }, // none is dropped
  { groups: 2, keptGroups: 1 }, // groups of a softmax
]);

const sortTable = cases(sortBase, [
  {},
  { tokens: 0 },
  { tokens: 1 },
  { tokens: 1, k: 1, experts: 1 },
  { k: 16 }, // every expert
  { ids: "one" }, // the others have no rows
  { ids: "last" },
  { ids: "none" }, // padding only
  { padding: true },
  { padding: true, tokens: 300 },
  ...product<SortRow>({ experts: [128], k: [6], tokens: [64, 900], ids: ["random", "one"] }),
  { experts: 512, k: 22, tokens: 40 },
  { experts: 256, k: 8, tokens: 1200, padding: true },
  { experts: 1024, k: 5, tokens: 1000 },
  { experts: 4, k: 2, tokens: 66_000 }, // more pairs than warps keep
]);

const combineTable = cases(combineBase, [
  {},
  { tokens: 0 },
  { tokens: 1 },
  { tokens: 300 },
  { k: 1 },
  { k: 22 },
  { width: 1 },
  { width: 17 },
  { width: 2688, dtype: "bf16", outDtype: "f32", accumulate: true }, // into a residual stream
  { padding: true },
  { padding: true, accumulate: true }, // a padding token's row stays
  { alpha: 0.22, accumulate: true },
  { dtype: "bf16" },
  { outDtype: "bf16" },
  { dtype: "f16", outDtype: "f16" },
  { yPad: 8, outPad: 16 },
  { yPad: 7, outPad: 5, shift: 1 },
  { dtype: "bf16", outDtype: "bf16", yPad: 7, outPad: 5, shift: 1, accumulate: true, alpha: -2 },
]);

describeEachBackend((backend) => {
  test("localExperts numbers them from a rank's first one on", async () => {
    const values = [0, 3, 4, 9, -1, 1023];
    const ids = backend.place("i32", [3, 2], { values });
    localExperts(backend.stream, { ids: ids.tensor, first: 4 });
    expect([...(await ids.values())]).toEqual(values.map((id) => id - 4));
  });

  describe("route", () => {
    test.each(routeTable)("$name", ({ row }) => checkRoute(backend, row));

    test("a NaN is the last to be chosen", async () => {
      const logits = [1, Number.NaN, 3, 2];
      const ids = backend.place("i32", [1, 4]);
      const weights = backend.place("f32", [1, 4]);
      route(backend.stream, {
        ids: ids.tensor,
        weights: weights.tensor,
        logits: backend.floats([1, 4], logits),
        score: 1,
        normalise: false,
      });
      expect(Array.from(await ids.values())).toEqual([2, 3, 0, 1]);
      expect((await weights.values())[3]).toBe(0);
    });

    test("whatever the logits are, ids are experts", async () => {
      const logits = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
      for (const score of [0, 1]) {
        const ids = backend.place("i32", [1, 3]);
        const weights = backend.place("f32", [1, 3]);
        const placed = backend.floats([1, 4], logits);
        route(backend.stream, { ids: ids.tensor, weights: weights.tensor, logits: placed, score, normalise: true });
        const got = Array.from(await ids.values());
        expect(new Set(got).size).toBe(3);
        expect(got.every((id) => id >= 0 && id < 4)).toBe(true);
      }
    });
  });

  describe("sort_by_expert", () => {
    test.each(sortTable)("$name", ({ row }) => checkSort(backend, row));
  });

  describe("moe_combine", () => {
    test.each(combineTable)("$name", ({ row }) => checkCombine(backend, row));
  });
});
