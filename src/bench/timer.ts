import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";

/** Written before each run, so that nothing of the run before is in a cache: larger than the device's L2. */
const SCRATCH_BYTES = { cuda: 256 * 2 ** 20, cpu: 64 * 2 ** 20 };

export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Times launches on the device itself: a graph of them is replayed, each time between two events. */
export class Timer {
  private scratch: Tensor | undefined;

  constructor(
    private readonly device: Device,
    readonly runs: number,
  ) {}

  /** Median of the runs in microseconds. `launch` runs once before, for what a first call chooses or allocates. */
  async microseconds(launch: () => void, { flush = true } = {}): Promise<number> {
    const { stream, kind } = this.device;
    launch();
    await stream.done();
    if (flush) this.scratch ??= this.device.tensor("u8", [SCRATCH_BYTES[kind]]);
    const graph = stream.capture(launch);
    try {
      return median(await stream.timeReplays(graph, this.runs, flush ? this.scratch : undefined));
    } finally {
      graph.free();
    }
  }
}
