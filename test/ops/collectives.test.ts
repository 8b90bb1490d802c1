/** Collective ops on a group of devices, and what a failing rank does to the others. On GPUs, groups of as many as there are. */
import { allGather, allReduce } from "../../src/ops/collectives";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { type FloatDType, rounded } from "../helpers/bits";
import { assertClose, toleranceOf } from "../helpers/close";
import { failureOf } from "../helpers/failure";
import { mostRanks } from "../helpers/group-harness";
import { Rng } from "../helpers/rng";
import { Placed, type Placement } from "../helpers/strided";
import { cases } from "../helpers/table";

const kind = testDevices[0]!;

const most = mostRanks(kind);
const fitting = <Row extends { row: { ranks: number } }>(table: readonly Row[]) =>
  table.filter(({ row }) => row.ranks <= most);

let devices: Device[] = [];
function openGroup(ranks: number): Device[] {
  devices = Array.from({ length: ranks }, (_, rank) =>
    Device.open({ kind, threads: 1, index: kind === "cpu" ? 0 : rank }),
  );
  Device.join(devices);
  return devices;
}
afterEach(() => {
  for (const device of devices) device.close();
  devices = [];
});

const placeOn = (device: Device, dtype: FloatDType, shape: number[], placement: Placement = {}) =>
  new Placed(device, dtype, shape, placement);

const reduceRows = cases(
  {
    ranks: 2,
    rows: 5,
    width: 96,
    dtype: "f32" as FloatDType, // of x
    outDtype: "f32" as FloatDType,
    accumulate: false,
    clear: false,
    xPad: 0,
    outPad: 0,
    replay: false,
  },
  [
    {},
    { ranks: 1 }, // the rank's own rows
    { ranks: 3 },
    { ranks: 4 },
    { ranks: 4, accumulate: true }, // to a residual stream
    { rows: 0 }, // no rows
    { rows: 300, width: 129 }, // several tasks
    { width: 1 },
    { dtype: "bf16" },
    { dtype: "f16", outDtype: "f16", ranks: 3 },
    { dtype: "bf16", outDtype: "bf16", accumulate: true },
    { xPad: 7, outPad: 3, accumulate: true }, // slices of wider rows
    { replay: true, ranks: 3, accumulate: true }, // from a graph
    { clear: true, ranks: 3, xPad: 7 }, // x is empty afterwards
    { clear: true, rows: 40, width: 4096 }, // of more rows than go as packets
    { rows: 1, width: 4096, accumulate: true }, // a decode's row
    { rows: 8, width: 2688, dtype: "bf16", outDtype: "bf16", accumulate: true, clear: true, replay: true },
  ],
);

describe("all_reduce", () => {
  test.each(fitting(reduceRows))("$name", async ({ row }) => {
    const { ranks, rows, width, dtype, outDtype, accumulate, clear } = row;
    const group = openGroup(ranks);
    const rng = new Rng(1);
    const before = rounded(outDtype, rng.normal(rows * width));
    const values = group.map(() => rounded(dtype, rng.normal(rows * width)));
    const xs = group.map((device, i) =>
      placeOn(device, dtype, [rows, width], { values: values[i]!, rowPad: row.xPad }),
    );
    const outs = group.map((device) =>
      placeOn(device, outDtype, [rows, width], { values: before, rowPad: row.outPad }),
    );
    for (const [i, { stream }] of group.entries()) {
      const launch = () => allReduce(stream, { out: outs[i]!.tensor, x: xs[i]!.tensor, accumulate, clear });
      if (row.replay) stream.replay(stream.capture(launch));
      else launch();
    }
    const results = await Promise.all(outs.map((out) => out.values()));
    const want = before.map((value, i) => values.reduce((sum, x) => sum + x[i]!, accumulate ? value : 0));
    assertClose("out", [rows, width], results[0]!, want, toleranceOf(outDtype));
    for (const result of results) expect(result).toEqual(results[0]);
    for (const x of xs) {
      if (clear) expect((await x.values()).every((value) => value === 0)).toBe(true);
      else await x.assertUnchanged("x");
    }
  });
});

describe("all_reduce of channels that are normed together", () => {
  const eps = 1e-5;
  const together = [
    { ranks: 1, channels: [24] },
    { ranks: 2, channels: [24, 24] },
    { ranks: 3, channels: [7, 24, 1] },
    { ranks: 3, channels: [24, 0, 24] }, // a rank that does not count
  ];
  test.each(together.filter(({ ranks }) => ranks <= most))("$channels channels", async ({ ranks, channels }) => {
    const [rows, width] = [5, 17];
    const group = openGroup(ranks);
    const rng = new Rng(4);
    const parts = channels.map((count) => ({
      count,
      y: rng.normal(rows * count),
      weight: rng.normal(count * width), // [channels, width]
    }));
    const product = (scaleOf: (row: number, rank: number) => number, counted = parts) =>
      Float64Array.from({ length: rows * width }, (_, i) => {
        const [row, column] = [Math.floor(i / width), i % width];
        return counted.reduce((all, { count, y, weight }, rank) => {
          let sum = 0;
          for (let c = 0; c < count; c++) sum += y[row * count + c]! * weight[c * width + column]!;
          return all + sum * scaleOf(row, rank);
        }, 0);
      });
    const squaresOf = (row: number, { y, count }: (typeof parts)[number]) =>
      y.subarray(row * count, (row + 1) * count).reduce((sum, value) => sum + value * value, 0);
    const total = channels.reduce((sum, count) => sum + count, 0);
    const want = product((row) => {
      const squares = parts.reduce((sum, part) => sum + squaresOf(row, part), 0);
      return 1 / Math.sqrt(squares / total + eps);
    });
    const outs = group.map((device) => placeOn(device, "f32", [rows, width]));
    for (const [rank, device] of group.entries()) {
      const part = parts[rank]!;
      const own = product((row) => 1 / Math.sqrt(squaresOf(row, part) / part.count + eps), [part]);
      const values = part.count > 0 ? own : own.fill(Number.NaN);
      const squares = Array.from({ length: rows }, (_, row) => (part.count > 0 ? squaresOf(row, part) : Number.NaN));
      allReduce(device.stream, {
        out: outs[rank]!.tensor,
        x: placeOn(device, "f32", [rows, width], { values }).tensor,
        squares: placeOn(device, "f32", [rows, 1], { values: squares }).tensor,
        ...{ channels: part.count, eps },
      });
    }
    const results = await Promise.all(outs.map((out) => out.values()));
    assertClose("out", [rows, width], results[0]!, want, toleranceOf("f32"));
    for (const result of results) expect(result).toEqual(results[0]);
  });
});

const gatherRows = cases({ ranks: 2, rows: 3, width: 64, unit: 16, dtype: "f32" as FloatDType, outPad: 0 }, [
  {},
  { ranks: 1 },
  { ranks: 3 }, // 1, 1 and 2 units
  { ranks: 4 },
  { width: 60 }, // the last unit is not whole
  { width: 5, unit: 1, ranks: 4 },
  { width: 32, ranks: 4 }, // ranks without columns
  { rows: 0 },
  { rows: 700 }, // several tasks
  { dtype: "bf16", outPad: 5 },
]);

describe("all_gather", () => {
  test.each(fitting(gatherRows))("$name", async ({ row }) => {
    const { ranks, rows, width, unit, dtype, outPad } = row;
    const group = openGroup(ranks);
    const all = rounded(dtype, new Rng(2).normal(rows * width));
    const units = Math.ceil(width / unit);
    const first = (rank: number) => Math.min(width, Math.floor((units * rank) / ranks) * unit);
    const outs = group.map((device, rank) => {
      const isOwn = (column: number) => column >= first(rank) && column < first(rank + 1);
      const values = all.map((value, i) => (isOwn(i % width) ? value : Number.NaN));
      return placeOn(device, dtype, [rows, width], { values, rowPad: outPad });
    });
    for (const [i, { stream }] of group.entries()) allGather(stream, { out: outs[i]!.tensor, unit });
    for (const out of outs) expect(await out.values()).toEqual(all);
  });
});

(kind === "cpu" ? describe : describe.skip)("a group", () => {
  const rowsOn = (device: Device, rows = 2) => ({
    out: device.tensor("f32", [rows, 8]),
    x: device.tensor("f32", [rows, 8]),
  });

  test("is of one kind of device, each once, in no other group", () => {
    const [a, b] = openGroup(2) as [Device, Device];
    const alone = Device.open({ kind: "cpu", threads: 1 });
    devices = [a, b, alone];
    expect(failureOf(() => Device.join([a, alone]))).toMatchObject({ code: "ERR_ARGUMENT", subject: "group" });
    expect(failureOf(() => Device.join([alone, alone])).message).toContain("a device is named twice");
    expect(failureOf(() => Device.join([])).message).toContain("no devices");
  });

  test("is needed by collective ops", () => {
    devices = [Device.open({ kind: "cpu", threads: 1 })];
    const [device] = devices as [Device];
    const error = failureOf(() => allReduce(device.stream, rowsOn(device)));
    expect(error).toMatchObject({ code: "ERR_ARGUMENT", subject: "all_reduce" });
    expect(error.message).toContain("the device is in no group");
  });

  test("waits for a rank until it is told that it will not come", async () => {
    const [a] = openGroup(3) as [Device];
    allReduce(a.stream, rowsOn(a));
    const done = a.stream.done();
    a.failGroup();
    await expect(done).rejects.toMatchObject({ code: "ERR_DEVICE_LOST", subject: "group" });
    allReduce(a.stream, rowsOn(a));
    await expect(a.stream.done()).rejects.toMatchObject({ code: "ERR_DEVICE_LOST" });
  });

  test("ends where a rank closes", async () => {
    const [a, b] = openGroup(2) as [Device, Device];
    allReduce(a.stream, rowsOn(a));
    const done = a.stream.done();
    b.close();
    devices = [a];
    await expect(done).rejects.toMatchObject({ code: "ERR_DEVICE_LOST" });
  });

  test("refuses ranks that come with different rows, and nobody waits", async () => {
    const [a, b] = openGroup(2) as [Device, Device];
    allReduce(a.stream, rowsOn(a, 2));
    allReduce(b.stream, rowsOn(b, 3));
    const outcomes = await Promise.allSettled([a.stream.done(), b.stream.done()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  });

  test.each([
    ["types", { dtype: "bf16" as const }],
    ["squares, of which one has none", { squares: true }],
  ])("refuses ranks that come with different %s", async (_what, changes) => {
    const [a, b] = openGroup(2) as [Device, Device];
    allReduce(a.stream, rowsOn(a));
    const { dtype = "f32", squares = false } = changes as { dtype?: FloatDType; squares?: boolean };
    const x = placeOn(b, dtype, [2, 8]).tensor;
    allReduce(b.stream, { ...rowsOn(b), x, ...(squares ? { squares: placeOn(b, "f32", [2, 1]).tensor } : {}) });
    const outcomes = await Promise.allSettled([a.stream.done(), b.stream.done()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  });
});
