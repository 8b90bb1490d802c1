import { gatherRows } from "../ops/embedding";
import { linear } from "../ops/linear";
import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";
import { Inputs } from "./inputs";
import { Matrices } from "./matrices";
import type { Timer } from "./timer";

/** What the device reached in this run: nothing is faster than this but what fits in a cache. */
export interface Rates {
  /** Bytes read and written in a second by a large copy. */
  readonly bandwidth: number;
  /** Operations in a second of a large product of bf16 matrices. */
  readonly arithmetic: number;
  /** Microseconds of a launch that moves one number (and finds it by an index, neither of them in a cache). */
  readonly launchUs: number;
}

/** [bytes to copy, rows and width of the square matrix] */
const sizes = { cuda: { copy: 2 ** 30, rows: 8192, width: 8192 }, cpu: { copy: 2 ** 26, rows: 512, width: 2048 } };

/** Rates are ceilings, and a single median of them varies a lot: the fastest of so many counts. */
const ROUNDS = 3;

/** Measures the device, and copies for comparison with single cases. */
export class Floor {
  private buffers: { readonly source: Tensor; readonly target: Tensor } | undefined;
  private readonly copies = new Map<number, number>();

  constructor(
    private readonly device: Device,
    private readonly timer: Timer,
  ) {}

  async rates(): Promise<Rates> {
    const { copy } = sizes[this.device.kind];
    const copyUs = await this.fastest(() => this.timeCopy(copy));
    return {
      bandwidth: (2 * copy) / (copyUs / 1e6),
      arithmetic: await this.arithmetic(),
      launchUs: await this.launch(),
    };
  }

  /** A copy that reads half of `bytes` and writes the other half, with its launch. */
  async copyMicroseconds(bytes: number): Promise<number> {
    const half = Math.max(16, Math.ceil(bytes / 32) * 16);
    const known = this.copies.get(half);
    if (known !== undefined) return known;
    const us = await this.timeCopy(half);
    this.copies.set(half, us);
    return us;
  }

  /** Microseconds to copy `bytes`. */
  private async timeCopy(bytes: number): Promise<number> {
    const { source, target } = this.buffersOf(bytes);
    const views = [target.rows(0, bytes), source.rows(0, bytes)] as const;
    const us = await this.timer.microseconds(() => this.device.stream.copy(...views));
    for (const view of views) view.free();
    return us;
  }

  private async fastest(measure: () => Promise<number>): Promise<number> {
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round++) best = Math.min(best, await measure());
    return best;
  }

  private buffersOf(bytes: number): { readonly source: Tensor; readonly target: Tensor } {
    if (this.buffers !== undefined && this.buffers.source.elements >= bytes) return this.buffers;
    this.buffers?.source.free();
    this.buffers?.target.free();
    const [source, target] = [this.device.tensor("u8", [bytes]), this.device.tensor("u8", [bytes])];
    this.device.stream.fill(source, 1);
    this.buffers = { source, target };
    return this.buffers;
  }

  private async arithmetic(): Promise<number> {
    const { rows, width } = sizes[this.device.kind];
    const matrices = new Matrices(this.device);
    const inputs = new Inputs(this.device, matrices);
    const weight = inputs.matrix(width, width);
    const x = inputs.normal("bf16", [rows, width]);
    const out = inputs.output("bf16", [rows, width]);
    const us = await this.fastest(() => this.timer.microseconds(() => linear(this.device.stream, { out, x, weight })));
    inputs.free();
    matrices.free();
    return (2 * rows * width * width) / (us / 1e6);
  }

  private async launch(): Promise<number> {
    const inputs = new Inputs(this.device, new Matrices(this.device));
    const x = inputs.normal("f32", [1, 1]);
    const out = inputs.output("f32", [1, 1]);
    const index = inputs.words([0]);
    const us = await this.fastest(() =>
      this.timer.microseconds(() => gatherRows(this.device.stream, { out, x, index })),
    );
    inputs.free();
    return us;
  }
}

/** The longer of moving the bytes and doing the arithmetic, in microseconds. */
export function floorMicroseconds({ bytes, flops }: { bytes: number; flops: number }, rates: Rates): number {
  return 1e6 * Math.max(bytes / rates.bandwidth, flops / rates.arithmetic);
}
