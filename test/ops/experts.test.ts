import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { cases, describePublished, product } from "../helpers/table";
import {
  checkExperts,
  checkLinearRoute,
  type ExpertsRow,
  expertsBase,
  expertsBf16,
  expertsInputs,
  type LinearRouteRow,
  launch,
  linearRouteBase,
} from "./cases/experts";

const bf16 = { dtype: "bf16", weightDtype: "bf16" } as const;
const deepseek = { score: "sigmoid", bias: true } as const;

const routeTable = cases(linearRouteBase, [
  {},
  { tokens: 0 },
  { tokens: 40 },
  { ...deepseek },
  { dtype: "f16", weightDtype: "f16" },
  { weightDtype: "bf16" },
  ...product<LinearRouteRow>({ tokens: [1, 2, 4, 5] }).flatMap((row): Partial<LinearRouteRow>[] => [
    { ...row, ...bf16 },
    { ...row, ...bf16, normalise: false },
    { ...row, ...bf16, ...deepseek, experts: 128, k: 6, width: 2688 },
    { ...row, ...bf16, experts: 256, k: 8, width: 2048 },
    { ...row, ...bf16, experts: 64, k: 6, width: 1536, padding: true },
  ]),
  { ...bf16, experts: 1, k: 1 },
  { ...bf16, experts: 65, k: 65 }, // every expert, and more than a warp has lanes
  { ...bf16, experts: 72, k: 10, width: 4096 },
  { ...bf16, experts: 512, k: 22, width: 1024 },
  { ...bf16, width: 8 },
  { ...bf16, width: 264 }, // one lane more than a piece has
  { ...bf16, width: 65 }, // odd
  { ...bf16, ...deepseek, groups: 4, keptGroups: 2 },
  { ...bf16, ...deepseek, experts: 256, k: 8, groups: 8, keptGroups: 4, padding: true },
  { ...bf16, xPad: 8 },
  { ...bf16, xPad: 7, shift: 1 },
]);

const relu2 = { activation: "relu2", gated: false } as const;
const table = cases(expertsBase, [
  {},
  { tokens: 0 },
  { tokens: 40 },
  { ...relu2 },
  { shared: 80 },
  { shared: 80, sharedGate: true },
  { ...relu2, shared: 80, sharedGate: true },
  { padding: true, shared: 80 },
  { ids: "none" },
  { accumulate: false, inPlace: true },
  { dtype: "f16", weightDtype: "f16", shared: 40 },
  { dtype: "bf16", weightDtype: "f32", shared: 40 },
  ...product<ExpertsRow>({ tokens: [1, 2, 3, 4, 5] }).flatMap((row): Partial<ExpertsRow>[] => [
    { ...row, ...expertsBf16 },
    { ...row, ...expertsBf16, ...relu2, shared: 80 },
    { ...row, ...expertsBf16, shared: 96, sharedGate: true, alpha: 0.22 },
    { ...row, ...expertsBf16, outDtype: "bf16", accumulate: false },
  ]),
  { ...expertsBf16, padding: true, shared: 80 },
  { ...expertsBf16, tokens: 40, shared: 96, sharedGate: true, alpha: 0.22, padding: true },
  { ...expertsBf16, tokens: 40, k: 5, shared: 96, xPad: 8, outPad: 8, outDtype: "bf16", accumulate: false },
  { ...expertsBf16, tokens: 40, k: 1, shared: 96, sharedGate: true }, // less between an expert's projections than in a row
  { ...expertsBf16, dtype: "f16", weightDtype: "f16", tokens: 40, width: 264, size: 160, shared: 40, sharedGate: true },
  { ...expertsBf16, ids: "one" }, // one expert several times
  { ...expertsBf16, ids: "last", k: 8 }, // every expert
  { ...expertsBf16, ids: "none" }, // padding adds nothing
  { ...expertsBf16, ids: "none", accumulate: false },
  { ...expertsBf16, outDtype: "bf16", accumulate: false, inPlace: true },
  { ...expertsBf16, width: 8, size: 8, shared: 8, sharedGate: true },
  { ...expertsBf16, width: 264, size: 520, shared: 264 }, // one lane more than pieces have
  { ...expertsBf16, width: 1000, size: 72, k: 5, sharedGate: true, shared: 8 },
  { ...expertsBf16, width: 65, size: 33 }, // odd
  { ...expertsBf16, size: 36 },
  { ...expertsBf16, experts: 1, k: 1 },
  { ...expertsBf16, activation: "geluTanh" },
  { ...expertsBf16, xPad: 8, outPad: 8 },
  { ...expertsBf16, xPad: 7, outPad: 5, shift: 1 },
]);

describeEachBackend((backend) => {
  describe("linear_route", () => {
    test.each(routeTable)("$name", ({ row }) => checkLinearRoute(backend, row));
  });

  describe("experts", () => {
    test.each(table)("$name", ({ row }) => checkExperts(backend, row));

    test("the same bits again", async () => {
      const row: ExpertsRow = { ...expertsBase, ...expertsBf16, tokens: 2, shared: 96, sharedGate: true };
      const inputs = expertsInputs(row);
      assertSameBits("out", await launch(backend, row, inputs), await launch(backend, row, inputs));
    });

    describePublished(
      "experts of published models",
      cases(
        { ...expertsBase, ...expertsBf16, experts: 10 },
        product<ExpertsRow>({ tokens: [1, 2, 4] }).flatMap((row): Partial<ExpertsRow>[] => [
          { ...row, k: 6, width: 1536, size: 512, shared: 1024, alpha: 0.22 },
          { ...row, k: 6, width: 2688, size: 1856, shared: 3712, ...relu2 },
          { ...row, k: 8, width: 2048, size: 512, shared: 512, sharedGate: true },
        ]),
      ),
      (row) => checkExperts(backend, row),
    );
  });
});
