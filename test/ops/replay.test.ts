/** Tokens that are taken back leave nothing behind, and those that stay have the bits of decoding one by one. */
import { describeEachBackend } from "../helpers/backends";
import { cases } from "../helpers/table";
import { checkReplay, convolution, deltaRule, type Replayed, type ReplayTypes, stateSpace } from "./cases/replay";

interface Row extends ReplayTypes {
  readonly op: Replayed;
}

const types: ReplayTypes = { dtype: "f32", stateDtype: "f32" };
const everyType: readonly Partial<ReplayTypes>[] = [
  {},
  { dtype: "bf16" },
  { dtype: "bf16", stateDtype: "bf16" },
  { dtype: "f16", stateDtype: "f16" },
];

const table = (ops: Readonly<Record<string, Replayed>>) =>
  Object.entries(ops).flatMap(([shape, op]) =>
    cases<Row>({ ...types, op }, everyType).map(({ name, row }) => ({ name: `${shape}, ${name}`, row })),
  );

describeEachBackend((backend) => {
  describe("causal_conv1d_replay", () => {
    const ops = {
      "width 4": convolution(72, 4),
      "width 2": convolution(64, 2),
      "width 3": convolution(40, 3),
      "nothing aligned": convolution(37, 4),
      "many channels": convolution(2064, 4),
    };
    test.each(table(ops))("$name", ({ row }) => checkReplay(backend, row.op, row));
  });

  describe("ssd_replay", () => {
    const ops = {
      "4 heads share B and C": stateSpace(4, 32, 1, 32),
      "2 groups, not gated": stateSpace(4, 16, 2, 64, false),
      "the published models' shape": stateSpace(8, 64, 1, 128),
      "Nemotron's head": stateSpace(4, 80, 2, 128),
      "N = 256": stateSpace(2, 64, 1, 256),
      "N = 96": stateSpace(2, 24, 1, 96),
      "nothing aligned": stateSpace(3, 10, 3, 27),
      "70 small heads": stateSpace(70, 4, 1, 16),
    };
    test.each(table(ops))("$name", ({ row }) => checkReplay(backend, row.op, row));
  });

  describe("gdn_replay", () => {
    const ops = {
      "2 value heads a key head": deltaRule(2, 4, 32, 32),
      "the published models' shape": deltaRule(2, 4, 128, 128),
      "a key head each": deltaRule(2, 2, 128, 128),
      "nothing aligned": deltaRule(1, 3, 33, 17),
    };
    test.each(table(ops))("$name", ({ row }) => checkReplay(backend, row.op, row));
  });
});
