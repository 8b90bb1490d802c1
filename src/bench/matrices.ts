import type { Device } from "../tensor/device";
import { sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";
import type { WeightDescriptor } from "../weights/descriptor";
import { DeviceLoader } from "../weights/device-loader";
import { dummyPart } from "../weights/dummy";

/** The last matrix that was asked for: cases of one matrix follow each other, and a large one takes long to make. */
export class Matrices {
  private readonly loader: DeviceLoader;
  private last: { readonly name: string; readonly tensor: Tensor } | undefined;

  constructor(device: Device) {
    this.loader = new DeviceLoader(device, "bf16");
  }

  get(n: number, k: number): Tensor {
    return this.made([n, k], (weight) => this.loader.matrix(weight));
  }

  /** [experts, n, k]. */
  ofExperts(experts: number, n: number, k: number): Tensor {
    return this.made([experts, n, k], (weight) => this.loader.experts(weight));
  }

  private made(shape: readonly number[], load: (weight: WeightDescriptor) => { readonly data: Tensor }): Tensor {
    const name = shape.join("x");
    if (this.last?.name === name) return this.last.tensor;
    this.free();
    const law = { law: "normal", deviation: 1 / Math.sqrt(shape.at(-1)!) } as const;
    const dummy = [dummyPart(name, law, 1, elementsOf(shape), sizeOf("bf16"))];
    const { data } = load({ name, dtype: "bf16", shape, source: { dummy } });
    this.last = { name, tensor: data };
    return data;
  }

  free(): void {
    this.last?.tensor.free();
    this.last = undefined;
    this.loader.close();
  }
}
