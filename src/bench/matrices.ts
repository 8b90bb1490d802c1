import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";
import type { WeightDescriptor } from "../weights/descriptor";
import { DeviceLoader } from "../weights/device-loader";

type Source = WeightDescriptor["source"];

/** The last matrix that was asked for: cases of one matrix follow each other, and a large one takes long to make. */
export class Matrices {
  private readonly loader: DeviceLoader;
  private last: { readonly name: string; readonly tensor: Tensor } | undefined;

  constructor(device: Device) {
    this.loader = new DeviceLoader(device, "bf16");
  }

  get(n: number, k: number): Tensor {
    return this.made(`${n}x${k}`, k, (name, source) =>
      this.loader.matrix({ name, dtype: "bf16", shape: [n, k], source }),
    );
  }

  /** [experts, n, k]. */
  ofExperts(experts: number, n: number, k: number): Tensor {
    const shape = [experts, n, k];
    return this.made(shape.join("x"), k, (name, source) => this.loader.experts({ name, dtype: "bf16", shape, source }));
  }

  private made(name: string, k: number, load: (name: string, source: Source) => { readonly data: Tensor }): Tensor {
    if (this.last?.name === name) return this.last.tensor;
    this.free();
    const law = { law: "normal", deviation: 1 / Math.sqrt(k) } as const;
    const { data } = load(name, { dummy: { seed: 1, law } });
    this.last = { name, tensor: data };
    return data;
  }

  free(): void {
    this.last?.tensor.free();
    this.last = undefined;
    this.loader.close();
  }
}
