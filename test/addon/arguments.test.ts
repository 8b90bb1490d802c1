/** Arguments that nobody should give: each is an error with a code, and the process goes on. */
import type { TensorHandle } from "../../src/native/abi";
import { addon } from "../../src/native/load";
import { copySlots } from "../../src/ops";
import { packLinearWeight } from "../../src/ops/pack-linear-weight";
import { Device } from "../../src/tensor/device";
import { Tensor } from "../../src/tensor/tensor";
import { testDevices } from "../helpers/backends";
import { failureOf } from "../helpers/failure";

let device: Device;
let tensor: Tensor;
beforeEach(() => {
  device = Device.open({ kind: testDevices[0]!, threads: 2 });
  tensor = device.tensor("f32", [100]);
});
afterEach(() => device.close());

const handle = () => device.stream.handle;
const detached = (array: Float32Array) => {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  return array;
};
const matrix = () => new Float32Array(32 * 64);
const none = { places: new Float64Array(0), floats: new Float32Array(0) };
const pack = (group: number) =>
  addon().packLinearWeight(
    ...([handle(), 5, group, false, 32, 64, 0, matrix(), none.places, none.floats, none.floats] as const),
  );

test.each<[string, () => unknown, code: string, message: string]>([
  ["a size that is no number", () => device.tensor("f32", [Number.NaN]), "ERR_ARGUMENT", "createTensor: argument 3"],
  ["a size between two", () => device.tensor("f32", [2.5]), "ERR_ARGUMENT", "an integer up to 2^53, got 2.5"],
  ["a size as text", () => device.tensor("f32", ["4" as never]), "ERR_ARGUMENT", "expected a number"],
  ["sizes beside a 0 whose strides overflow", () => device.tensor("f32", [0, 2 ** 40, 2 ** 40]), "ERR_SHAPE", "size"],
  [
    "a rank that is 1 in 32 bits",
    () => addon().createTensor(handle(), 0, 2 ** 32 + 1, 4, 0, 0, 0),
    "ERR_SHAPE",
    "rank",
  ],
  ["an offset whose bytes wrap", () => tensor.view({ shape: [60], offset: 2 ** 62 - 512 }), "ERR_ARGUMENT", "2^53"],
  ["an offset without end", () => tensor.view({ shape: [1], offset: Number.POSITIVE_INFINITY }), "ERR_ARGUMENT", "inf"],
  ["a far stride of one row", () => tensor.view({ shape: [1], strides: [2 ** 50] }), "ERR_SHAPE", "stride"],
  [
    "a place before the first",
    () => device.stream.upload(tensor, new Float32Array(1), -2),
    "ERR_ARGUMENT",
    "0 or more",
  ],
  ["a byte above 255", () => device.stream.fill(tensor, 256), "ERR_ARGUMENT", "fill: argument 2: expected a byte"],
  ["threads that are no number", () => Device.open({ kind: "cpu", threads: Number.NaN }), "ERR_ARGUMENT", "openDevice"],
  ["a kind that is no text", () => Device.open({ kind: 1 as never }), "ERR_ARGUMENT", "expected a string"],
  ["a number for a flag", () => addon().openDevice("cpu", 1, 1 as never, 0), "ERR_ARGUMENT", "expected a boolean"],
  ["an arena of no number", () => device.arena(Number.NaN), "ERR_ARGUMENT", "createArena: argument 1"],
  ["a view of bytes", () => device.stream.upload(tensor, new DataView(new ArrayBuffer(400))), "ERR_ARGUMENT", "typed"],
  ["a detached array", () => device.stream.upload(tensor, detached(new Float32Array(100))), "ERR_SHAPE", "0"],
  ["times as bytes", () => addon().deviceMemory(handle(), new Uint8Array(16) as never), "ERR_ARGUMENT", "Float64Array"],
  ["a group of more than there is", () => pack(2 ** 62), "ERR_ARGUMENT", "packLinearWeight: argument 2"],
  [
    "a handle of more than 32 bits",
    () => addon().freeTensor((tensor.handle + 2 ** 32) as TensorHandle),
    "ERR_DISPOSED",
    "",
  ],
])("%s", async (_what, call, code, message) => {
  const error = failureOf(() => void call());
  expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  await device.stream.done();
});

test("a group as large as a number can say is all of k", () => {
  expect(pack(2 ** 53)).toBeGreaterThan(0);
});

test("shared memory is read and written as any other", async () => {
  const shared = (values: number[]) => {
    const array = new Float32Array(new SharedArrayBuffer(4 * values.length));
    array.set(values);
    return array;
  };
  const two = device.tensor("f32", [2]);
  device.stream.upload(two, shared([1, 2]));
  const back = shared([0, 0]);
  await device.stream.download(two, back);
  expect([...back]).toEqual([1, 2]);
});

test("an array whose memory went away while it was to be filled rejects", async () => {
  device.stream.fill(tensor, 0);
  const target = new Float32Array(100);
  const pending = device.stream.download(tensor, target);
  detached(target);
  await expect(pending).rejects.toMatchObject({ code: "ERR_ARGUMENT", message: expect.stringContaining("download") });
  await device.stream.done();
});

test("a weight is not packed into a graph, which would keep the caller's array", async () => {
  const graph = device.stream.capture(() => {
    expect(failureOf(() => void pack(64)).code).toBe("ERR_CAPTURE");
  });
  expect(graph.nodes).toBe(0);
  expect(pack(64)).toBeGreaterThan(0);
});

test("a packed weight is no pool of slots", () => {
  const weight = packLinearWeight(device.stream, new Float32Array(4 * 32), [4, 32], "f32", "f32");
  const slots = device.tensor("i32", [1]);
  const pool = new Tensor(weight.handle, "f32", [4, 32]);
  const error = failureOf(() => copySlots(device.stream, { pool, from: slots, to: slots }));
  expect(error).toMatchObject({ code: "ERR_SHAPE", message: expect.stringContaining("pool is a packed weight") });
});
