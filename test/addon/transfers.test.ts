import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";

let device: Device;
beforeAll(() => {
  device = Device.open({ kind: testDevices[0]!, threads: 2 });
});
afterAll(() => device.close());

const codeOf = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "nothing was thrown";
};

const rows = (count: number, first: number) => Int32Array.from({ length: 4 * count }, (_, i) => first + i);

test("go to pinned memory and back, row by row, after what was launched before them", async () => {
  const { stream } = device;
  const [pool, kept] = [device.tensor("i32", [8, 4]), device.pinnedTensor("i32", [3, 4])];
  stream.upload(pool, rows(8, 100));
  stream.orderTransfers();
  stream.transferRow(kept, 2, pool, 5);
  await stream.transferred();
  stream.fill(pool, 0);
  stream.orderTransfers();
  stream.transferRow(pool, 1, kept, 2);
  await stream.transferred();
  const back = new Int32Array(32);
  await stream.download(pool, back);
  expect([...back]).toEqual([0, 0, 0, 0, 120, 121, 122, 123, ...new Array<number>(24).fill(0)]);
});

test("of rows that are not there, of other sizes, and of views are refused; so is pinned memory by ops", () => {
  const { stream } = device;
  const [pool, kept, other] = [
    device.tensor("i32", [8, 4]),
    device.pinnedTensor("i32", [3, 4]),
    device.pinnedTensor("i32", [3, 5]),
  ];
  for (const row of [-1, 3]) {
    expect(codeOf(() => stream.transferRow(kept, row, pool, 0))).toBe("ERR_ARGUMENT");
  }
  expect(codeOf(() => stream.transferRow(other, 0, pool, 0))).toBe("ERR_SHAPE");
  expect(codeOf(() => stream.transferRow(kept, 0, pool.view({ shape: [3, 2], strides: [4, 1] }), 0))).toBe(
    "ERR_ARGUMENT",
  );
  expect(codeOf(() => stream.copy(pool, kept))).toMatch("ERR_");
  expect(codeOf(() => stream.fill(kept, 0))).toMatch("ERR_");
});
