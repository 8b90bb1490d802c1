import { spawnSync } from "node:child_process";
import { join } from "node:path";
import type { ArenaHandle, TensorHandle } from "../../src/native/abi";
import { addon } from "../../src/native/load";
import { embedding } from "../../src/ops";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";

const thrown = (body: () => unknown): { code: string; message: string; stack: string } => {
  try {
    body();
  } catch (error) {
    return error as never;
  }
  throw new Error("nothing was thrown");
};

const kind = testDevices[0]!;
let device: Device;
beforeEach(() => {
  device = Device.open({ kind, threads: 2 });
});
afterEach(() => device.close());

/** out = table[ids], as a small op whose result is easy to predict. */
function lookup(ids: number[]) {
  const weight = device.tensor("f32", [4, 3]);
  device.stream.upload(
    weight,
    Float32Array.from({ length: 12 }, (_, i) => i),
  );
  const idsTensor = device.tensor("i32", [ids.length]);
  device.stream.upload(idsTensor, Int32Array.from(ids));
  const out = device.tensor("f32", [ids.length, 3]);
  return { weight, ids: idsTensor, out };
}

describe("transfers", () => {
  test("bits come back as they went, and the source may be reused at once", async () => {
    const tensor = device.tensor("i32", [1000]);
    const data = Int32Array.from({ length: 1000 }, (_, i) => i * 7);
    device.stream.upload(tensor, data);
    data.fill(-1);
    const back = new Int32Array(1000);
    await device.stream.download(tensor, back);
    expect(back).toEqual(Int32Array.from({ length: 1000 }, (_, i) => i * 7));
  });

  test("sizes must agree", () => {
    const tensor = device.tensor("f32", [4]);
    expect(thrown(() => device.stream.upload(tensor, new Float32Array(3)))).toMatchObject({
      code: "ERR_SHAPE",
      message: expect.stringContaining("16 bytes, the other side 12"),
    });
  });

  test("a part goes to its place and comes back from it", async () => {
    const { stream } = device;
    const tensor = device.tensor("i32", [6]);
    stream.fill(tensor, 0);
    stream.upload(tensor, Int32Array.of(1, 2, 3), 2);
    const [all, part] = [new Int32Array(6), new Int32Array(2)];
    await Promise.all([stream.download(tensor, all), stream.download(tensor, part, 4)]);
    expect([...all, ...part]).toEqual([0, 0, 1, 2, 3, 0, 3, 0]);
  });

  test.each([4, 7, 2 ** 50])("a part from element %d on that is not there is refused", (at) => {
    const tensor = device.tensor("i32", [6]);
    expect(thrown(() => device.stream.upload(tensor, new Int32Array(3), at))).toMatchObject({
      code: "ERR_SHAPE",
      message: expect.stringContaining("outside a tensor of 24 bytes"),
    });
  });

  test("a target array stays alive until its download has settled", async () => {
    const tensor = device.tensor("f32", [1 << 16]);
    device.stream.fill(tensor, 0);
    const pending = Array.from({ length: 200 }, () => device.stream.download(tensor, new Float32Array(1 << 16)));
    await Promise.all(pending);
  });

  test("10,000 promises settle in the order of their launches", async () => {
    const order: number[] = [];
    const pending = Array.from({ length: 10_000 }, (_, i) => device.stream.done().then(() => order.push(i)));
    await Promise.all(pending);
    expect(order).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
  });
});

describe("handles", () => {
  test("a freed tensor is an error with the caller's stack", () => {
    const tensor = device.tensor("f32", [4]);
    tensor.free();
    const error = thrown(() => device.stream.fill(tensor, 0));
    expect(error).toMatchObject({ code: "ERR_DISPOSED" });
    expect(error.stack).toContain("stream.test.ts");
  });

  test("a handle of another kind, a made-up one and a closed device are errors", () => {
    const tensor = device.tensor("f32", [4]);
    expect(thrown(() => addon().arenaHighWater(tensor.handle as number as ArenaHandle)).code).toBe("ERR_DISPOSED");
    for (const handle of [0, -1, 1, 2 ** 30, Number.NaN]) {
      expect(thrown(() => addon().freeTensor(handle as TensorHandle)).code).toBe("ERR_DISPOSED");
    }
    const other = Device.open({ kind });
    const theirs = other.tensor("f32", [4]);
    expect(thrown(() => device.stream.copy(tensor, theirs)).code).toMatch("ERR_");
    other.close();
    expect(thrown(() => other.tensor("f32", [1])).code).toBe("ERR_DISPOSED");
    expect(thrown(() => theirs.free()).code).toBe("ERR_DISPOSED");
  });

  test("views stay inside their tensor and keep its memory alive", async () => {
    const tensor = device.tensor("i32", [4, 4]);
    device.stream.upload(
      tensor,
      Int32Array.from({ length: 16 }, (_, i) => i),
    );
    expect(thrown(() => tensor.rows(2, 5)).code).toBe("ERR_SHAPE");
    expect(thrown(() => tensor.view({ shape: [2], offset: -1 })).code).toBe("ERR_SHAPE");
    expect(thrown(() => tensor.view({ shape: [2 ** 40, 2 ** 40] })).code).toBe("ERR_SHAPE");
    const view = tensor.rows(1, 3);
    tensor.free();
    const back = new Int32Array(8);
    await device.stream.download(view, back);
    expect([...back]).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
  });

  test("closing a device gives all its handles back", () => {
    const before = addon().liveHandles();
    const other = Device.open({ kind });
    for (let i = 0; i < 10; i++) other.tensor("f32", [i]);
    other.arena(1024).tensor("f32", [4]);
    other.close();
    expect(addon().liveHandles()).toBe(before);
  });

  test("memory that is not to be had is an error with numbers", () => {
    expect(thrown(() => device.tensor("f32", [2 ** 23, 2 ** 22])).code).toBe("ERR_MEMORY");
    expect(device.tensor("f32", [2]).elements).toBe(2);
  });
});

describe("arenas", () => {
  test("a scope's tensors die with it, and the next scope finds the same addresses", () => {
    const arena = device.arena(4096);
    const first = arena.scope(() => arena.tensor("f32", [8]));
    expect(thrown(() => device.stream.fill(first, 0)).code).toBe("ERR_DISPOSED");
    arena.scope(() => {
      const outer = arena.tensor("f32", [8]);
      arena.scope(() => arena.tensor("f32", [512]));
      device.stream.fill(outer, 0);
      expect(thrown(() => arena.tensor("f32", [2000]))).toMatchObject({ code: "ERR_ARENA_FULL" });
    });
    expect(arena.highWater).toBe(256 + 2048);
  });

  test("a measuring arena is for captures only, and its graph cannot be replayed", () => {
    const arena = device.measuringArena();
    const { weight, ids } = lookup([1]);
    const graph = device.stream.capture(() =>
      arena.scope(() => embedding(device.stream, { out: arena.tensor("f32", [1, 3]), weight, ids })),
    );
    expect(arena.highWater).toBe(256);
    expect(thrown(() => device.stream.replay(graph)).code).toBe("ERR_CAPTURE");
    arena.scope(() => {
      const out = arena.tensor("f32", [1, 3]);
      expect(thrown(() => embedding(device.stream, { out, weight, ids })).code).toBe("ERR_ARGUMENT");
    });
  });
});

describe("graphs", () => {
  test("a replay reads what its addresses hold now, and equals the eager run", async () => {
    const { weight, ids, out } = lookup([3, 1]);
    const graph = device.stream.capture(() => embedding(device.stream, { out, weight, ids }));
    expect(graph.nodes).toBe(1);
    const back = new Float32Array(6);
    device.stream.fill(out, 0xff);
    device.stream.replay(graph);
    await device.stream.download(out, back);
    expect([...back]).toEqual([9, 10, 11, 3, 4, 5]);
    device.stream.upload(ids, Int32Array.from([0, 2]));
    device.stream.replay(graph);
    await device.stream.download(out, back);
    expect([...back]).toEqual([0, 1, 2, 6, 7, 8]);
  });

  test("replays are timed one by one, and run", async () => {
    const { weight, ids, out } = lookup([3]);
    const graph = device.stream.capture(() => embedding(device.stream, { out, weight, ids }));
    const scratch = device.tensor("u8", [1 << 20]);
    device.stream.fill(out, 0xff);
    for (const flushed of [undefined, scratch]) {
      const times = await device.stream.timeReplays(graph, 5, flushed);
      expect(times).toHaveLength(5);
      expect(times.every((us) => us > 0 && us < 1e6)).toBe(true);
    }
    const back = new Float32Array(3);
    await device.stream.download(out, back);
    expect([...back]).toEqual([9, 10, 11]);
  });

  test("marks tell the time between points of the stream", async () => {
    const tensor = device.tensor("f32", [1 << 20]);
    for (let i = 0; i < 3; i++) {
      device.stream.mark();
      device.stream.fill(tensor, i);
    }
    const times = await device.stream.readMarks();
    expect(times).toHaveLength(3);
    expect(times[0]).toBe(0);
    expect(times[1]! > 0 && times[2]! > times[1]!).toBe(true);
    expect(await device.stream.readMarks()).toHaveLength(0);
    device.stream.mark();
    expect(thrown(() => void addon().readMarks(device.stream.handle, new Float64Array(2))).code).toBe("ERR_ARGUMENT");
  });

  test("a graph keeps its tensors' memory alive", async () => {
    const { weight, ids, out } = lookup([2]);
    const graph = device.stream.capture(() => embedding(device.stream, { out, weight, ids }));
    weight.free();
    ids.free();
    device.stream.replay(graph);
    const back = new Float32Array(3);
    await device.stream.download(out, back);
    expect([...back]).toEqual([6, 7, 8]);
  });

  test("what would break a replay is refused while capturing, and the stream works afterwards", async () => {
    const tensor = device.tensor("f32", [1]);
    const { stream } = device;
    const refused = [
      () => stream.upload(tensor, new Float32Array(1)),
      () => void stream.download(tensor, new Float32Array(1)),
      () => void stream.done(),
      () => stream.capture(() => {}),
    ];
    for (const body of refused) expect(thrown(() => stream.capture(body)).code).toBe("ERR_CAPTURE");
    await stream.done();
  });
});

describe("processes", () => {
  const root = join(__dirname, "..", "..");
  const run = (body: string) =>
    spawnSync(process.execPath, ["-r", "./test/helpers/register.js", "-e", body], { cwd: root, encoding: "utf8" });
  const prelude = `const { Device } = require("./src/tensor/device.ts"); const device = Device.open({ kind: "${kind}" });
    const tensor = device.tensor("f32", [1 << 22]); for (let i = 0; i < 50; i++) device.stream.fill(tensor, i);`;

  test("exit with work in flight, waited for or not", () => {
    expect(run(`${prelude} void device.stream.done(); process.exit(7);`)).toMatchObject({ status: 7, signal: null });
    expect(run(prelude)).toMatchObject({ status: 0, signal: null, stderr: "" });
  });

  test("a pending promise keeps the process alive until it settles", () => {
    expect(run(`${prelude} device.stream.done().then(() => console.log("settled"));`).stdout).toBe("settled\n");
  });

  test("a worker thread has handles of its own, and may be terminated while it works", () => {
    const worker = `${prelude} require("node:worker_threads").parentPort.postMessage(tensor.handle); device.stream.done();`;
    const main = `const { Worker } = require("node:worker_threads");
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true, execArgv: ["-r", "./test/helpers/register.js"] });
      worker.on("message", async (handle) => {
        const { addon } = require("./src/native/load.ts");
        try { addon().freeTensor(handle); } catch (error) { console.log(error.code); }
        await worker.terminate(); console.log("terminated");
      });`;
    expect(run(main).stdout).toBe("ERR_DISPOSED\nterminated\n");
  });
});
