/** The devices that op tests run on. */
import { Device, type DeviceKind, deviceKinds } from "../../src/tensor/device";
import type { DType } from "../../src/tensor/dtype";
import type { Tensor } from "../../src/tensor/tensor";
import { Placed, type Placement } from "./strided";

/** An open device and the tensors a test placed on it. */
export class Backend {
  private opened: Device | undefined;
  private owned: { free(): void }[] = [];

  constructor(readonly kind: DeviceKind) {}

  get device(): Device {
    if (!this.opened) throw new Error("the device is opened in beforeAll; use it inside a test");
    return this.opened;
  }

  get stream(): Device["stream"] {
    return this.device.stream;
  }

  open(): void {
    this.opened = Device.open({ kind: this.kind, threads: 2 });
    Device.join([this.opened]); // a group of one, for collective ops
  }

  close(): void {
    this.freeAll();
    this.opened?.close();
    this.opened = undefined;
  }

  place(dtype: DType, shape: readonly number[], placement: Placement = {}): Placed {
    return this.keep(new Placed(this.device, dtype, shape, placement));
  }

  /** Whole numbers (slots, offsets, token ids) as an i32 tensor. */
  integers(values: readonly number[]): Tensor {
    return this.place("i32", [values.length], { values }).tensor;
  }

  floats(shape: readonly number[], values: ArrayLike<number>): Tensor {
    return this.place("f32", shape, { values }).tensor;
  }

  /** Frees it when the test is over. */
  keep<T extends { free(): void }>(thing: T): T {
    this.owned.push(thing);
    return thing;
  }

  freeAll(): void {
    for (const thing of this.owned) thing.free();
    this.owned = [];
  }
}

/** What the tests run on: TEST_DEVICES=cuda (npm run test:gpu) where there is a GPU, else the CPU. */
export const testDevices = (process.env.TEST_DEVICES ?? "cpu").split(",").map((name): DeviceKind => {
  const kind = deviceKinds.find((known) => known === name);
  if (kind === undefined) throw new Error(`TEST_DEVICES names ${name}, expected ${deviceKinds.join(" or ")}`);
  return kind;
});

export function describeEachBackend(body: (backend: Backend) => void): void {
  for (const kind of testDevices) {
    describe(`on ${kind}`, () => {
      const backend = new Backend(kind);
      beforeAll(() => backend.open());
      afterEach(() => backend.freeAll());
      afterAll(() => backend.close());
      body(backend);
    });
  }
}
