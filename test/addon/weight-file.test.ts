import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packLinearWeight } from "../../src/ops/pack-linear-weight";
import { Device } from "../../src/tensor/device";
import { WeightFile } from "../../src/tensor/weight-file";
import { testDevices } from "../helpers/backends";

/** More than one piece of what a thread reads at once. */
const count = 1_500_000;
const values = Float32Array.from({ length: count }, (_, i) => i);

const bytesOf = (array: Float32Array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

let dir: string;
let path: string;
let device: Device;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "weight-file-"));
  path = join(dir, "weights");
});
afterAll(() => rmSync(dir, { recursive: true }));
beforeEach(() => {
  writeFileSync(path, values);
  device = Device.open({ kind: testDevices[0]!, threads: 2 });
});
afterEach(() => device.close());

test("a tensor gets the file's bytes from an offset, whoever closes it meanwhile", async () => {
  const file = WeightFile.open(path);
  const tensor = device.tensor("f32", [count - 100]);
  file.upload(device.stream, tensor, 400);
  file.close();
  const back = new Float32Array(count - 100);
  await device.stream.download(tensor, back);
  expect(Buffer.compare(bytesOf(back), bytesOf(values.subarray(100)))).toBe(0);
});

test("what lies beyond its end is refused", () => {
  const file = WeightFile.open(path);
  const tensor = device.tensor("f32", [10]);
  expect(() => file.upload(device.stream, tensor, 4 * count - 36)).toThrow(/6000004 lie outside the file of 6000000/);
  file.close();
});

test("the stack of a rejected promise names who awaits it", async () => {
  const unreadable = WeightFile.open(dir);
  unreadable.upload(device.stream, device.tensor("f32", [1]), 0);
  const waitForIt = async () => {
    await device.stream.done();
  };
  const error = await waitForIt().catch((failure: unknown) => failure as Error);
  expect((error as Error).stack).toMatch(/waitForIt .*weight-file\.test\.ts/);
  unreadable.close();
});

test("a failure to read is an error of the stream, which goes on", async () => {
  const { stream } = device;
  const unreadable = WeightFile.open(dir); // a directory can be opened, and has a size
  unreadable.upload(stream, device.tensor("f32", [1]), 0);
  await expect(stream.done()).rejects.toMatchObject({ code: "ERR_IO" });
  packLinearWeight(stream, [{ file: unreadable.handle, offset: 0 }], [1, 1], "f32", "bf16");
  await expect(stream.done()).rejects.toMatchObject({ code: "ERR_IO" });
  unreadable.close();

  const file = WeightFile.open(path);
  file.upload(stream, device.tensor("f32", [count]), 0);
  await stream.done();
  file.close();
});
