import { Device, type DeviceKind } from "../../src/tensor/device";
import type { ComputeDtype } from "../../src/weights/weight-loader";
import { sameBits } from "./golden";
import type { Harness } from "./invariants";
import { type HarnessOptions, ModelHarness } from "./model-harness";

/** The most ranks that a group of this kind of device can have here: on a CPU 4, else as many as there are GPUs, at most 4. */
export function mostRanks(kind: DeviceKind): number {
  if (kind === "cpu") return 4;
  let count = 0;
  try {
    for (; count < 4; count++) Device.open({ kind, index: count }).close();
  } catch {}
  return count;
}

/** The harnesses of a model's ranks as one, on CPU devices unless told otherwise. */
export class GroupHarness implements Harness {
  private constructor(private readonly ranks: readonly ModelHarness[]) {}

  static async load(
    dir: string,
    dtype: ComputeDtype,
    ranks: number,
    {
      device: kind = "cpu",
      threads = 1,
      wholeExperts = false,
      ...options
    }: HarnessOptions & { wholeExperts?: boolean } = {},
  ): Promise<GroupHarness> {
    const devices = Array.from({ length: ranks }, (_, rank) =>
      Device.open({ kind, threads, index: kind === "cpu" ? 0 : rank }),
    );
    Device.join(devices);
    const loads = devices.map((device, rank) =>
      ModelHarness.load(dir, dtype, { ...options, rank: { device, place: { rank, ranks, wholeExperts } } }),
    );
    return new GroupHarness(await Promise.all(loads));
  }

  get config() {
    return this.ranks[0]!.config;
  }

  poison(): void {
    for (const harness of this.ranks) harness.poison();
  }

  /** Fails unless all ranks have the same logits. */
  async step(...args: Parameters<ModelHarness["step"]>): Promise<Float32Array[]> {
    return this.onAll((harness) => harness.step(...args));
  }

  async run(...args: Parameters<ModelHarness["run"]>): Promise<Float32Array> {
    const [all] = await this.onAll(async (harness) => [await harness.run(...args)]);
    return all!;
  }

  close(): void {
    for (const harness of this.ranks) harness.close();
  }

  private async onAll(run: (harness: ModelHarness) => Promise<Float32Array[]>): Promise<Float32Array[]> {
    const [first, ...others] = (await Promise.all(this.ranks.map(run))) as [Float32Array[], ...Float32Array[][]];
    for (const other of others) {
      if (!first.every((logits, i) => sameBits(logits, other[i]))) throw new Error("the ranks have different logits");
    }
    return first;
  }
}
