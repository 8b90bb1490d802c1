/** Tensors placed inside larger, poisoned buffers: strides are real, and a write past an edge is seen. */
import type { Device } from "../../src/tensor/device";
import type { DType } from "../../src/tensor/dtype";
import type { Tensor } from "../../src/tensor/tensor";
import { decode, encode, newWords, uploadView, type Words } from "./bits";
import { assertSameBits } from "./close";

/** NaNs with a payload of their own, and an integer that is no slot, token or position. */
const poison: Partial<Record<DType, number>> = {
  f32: 0x7fc0dead,
  bf16: 0x7fe1,
  f16: 0x7e2d,
  i32: 0x5eadbeef,
  u8: 0xa5,
};

/** Elements before and after the tensor. */
const guard = 64;

export interface Placement {
  /** Row-major contents; without them the tensor is all poison. */
  readonly values?: ArrayLike<number>;
  /** Elements from one row (first dimension) to the next, beyond the row's own. */
  readonly rowPad?: number;
  /** Elements to move the start by, off its natural alignment. */
  readonly shift?: number;
}

export class Placed {
  readonly tensor: Tensor;
  private readonly buffer: Tensor;
  private readonly views: Tensor[] = [];
  private readonly before: Words;
  private readonly rows: number;
  private readonly rowSize: number; // elements
  private readonly rowStride: number;
  private readonly start: number;

  constructor(
    private readonly device: Device,
    readonly dtype: DType,
    readonly shape: readonly number[],
    { values, rowPad = 0, shift = 0 }: Placement = {},
  ) {
    this.rows = shape[0] ?? 1;
    this.rowSize = shape.slice(1).reduce((a, b) => a * b, 1);
    this.rowStride = this.rowSize + rowPad;
    this.start = guard + shift;
    const length = this.start + Math.max(0, this.rows * this.rowStride) + guard;
    this.before = newWords(dtype, length).fill(poison[dtype]!);
    if (values) this.scatter(values);
    this.buffer = device.tensor(dtype, [length]);
    device.stream.upload(this.buffer, uploadView(dtype, this.before));
    this.tensor = this.columns(0, shape.slice(1));
  }

  /** A view of [rows, ...shape] that starts at `column` of each row. */
  columns(column: number, shape: readonly number[]): Tensor {
    const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    return this.view([this.rows, ...shape], [this.rowStride, ...strides], column);
  }

  /** Any view; `offset` counts from the placed tensor's first element. */
  view(shape: readonly number[], strides: readonly number[], offset = 0): Tensor {
    const view = this.buffer.view({ shape: [...shape], strides: [...strides], offset: this.start + offset });
    this.views.push(view);
    return view;
  }

  /** The tensor's memory in row-major order, once all launched work is done and nothing outside was overwritten. */
  async words(): Promise<Words> {
    return this.gather(await this.checkedBuffer());
  }

  async values(): Promise<Float32Array | Int32Array> {
    return decode(this.dtype, await this.words());
  }

  async assertUnchanged(what: string): Promise<void> {
    assertSameBits(what, await this.download(), this.before);
  }

  /** Row-major memory as it was placed. */
  initialWords(): Words {
    return this.gather(this.before);
  }

  free(): void {
    for (const view of this.views) view.free();
    this.buffer.free();
  }

  private async checkedBuffer(): Promise<Words> {
    const after = await this.download();
    const { before } = this;
    for (let i = 0; i < after.length; i++) {
      if (after[i] === before[i]) continue;
      const column = i - this.start;
      const inside = column >= 0 && column < this.rows * this.rowStride && column % this.rowStride < this.rowSize;
      if (!inside) throw new Error(`[${this.shape.join(", ")}]: guard cell ${column} was overwritten`);
    }
    return after;
  }

  private async download(): Promise<Words> {
    const words = newWords(this.dtype, this.before.length);
    await this.device.stream.download(this.buffer, uploadView(this.dtype, words));
    return words;
  }

  private scatter(values: ArrayLike<number>): void {
    const words = encode(this.dtype, values);
    if (words.length !== this.rows * this.rowSize) {
      throw new Error(`${words.length} values for a tensor of [${this.shape.join(", ")}]`);
    }
    for (let r = 0; r < this.rows; r++) {
      this.before.set(words.subarray(r * this.rowSize, (r + 1) * this.rowSize), this.start + r * this.rowStride);
    }
  }

  private gather(buffer: Words): Words {
    const out = newWords(this.dtype, this.rows * this.rowSize);
    for (let r = 0; r < this.rows; r++) {
      const at = this.start + r * this.rowStride;
      out.set(buffer.subarray(at, at + this.rowSize), r * this.rowSize);
    }
    return out;
  }
}
