import type { Device } from "../tensor/device";
import type { DType } from "../tensor/dtype";
import type { Shape } from "../tensor/shape";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";
import type { WeightDtype } from "../weights/descriptor";
import { DUMMY_PERIOD, fillDummy, type InitialLaw } from "../weights/dummy";
import { toBits } from "../weights/float-bits";
import type { Matrices } from "./matrices";

/** One random block for each law and type, drawn once: a tensor takes it from a place of its own, over and over. */
const blocks = new Map<string, Float32Array | Uint16Array>();

function blockOf(law: InitialLaw, dtype: WeightDtype): Float32Array | Uint16Array {
  const key = [JSON.stringify(law), "map" in law ? law.map : "", dtype].join(" ");
  let block = blocks.get(key);
  if (block === undefined) {
    const values = new Float32Array(DUMMY_PERIOD);
    fillDummy(law, blocks.size + 1, values);
    block = toBits(values, dtype);
    blocks.set(key, block);
  }
  return block;
}

/** The tensors of one problem. The same calls on two devices give the same values. */
export class Inputs {
  private readonly owned: Tensor[] = [];
  private drawn = 0;

  constructor(
    readonly device: Device,
    private readonly matrices: Matrices,
  ) {}

  get stream(): Stream {
    return this.device.stream;
  }

  random(law: InitialLaw, dtype: WeightDtype, shape: Shape): Tensor {
    const tensor = this.keep(this.device.tensor(dtype, shape));
    this.drawn += 1;
    this.fill(tensor, blockOf(law, dtype), (this.drawn * 99_991) % DUMMY_PERIOD);
    return tensor;
  }

  normal(dtype: WeightDtype, shape: Shape, deviation = 1): Tensor {
    return this.random({ law: "normal", deviation }, dtype, shape);
  }

  floats(values: readonly number[]): Tensor {
    const tensor = this.keep(this.device.tensor("f32", [values.length]));
    this.stream.upload(tensor, Float32Array.from(values));
    return tensor;
  }

  /** As i32; `values` may also be other 32-bit words. */
  words(values: ArrayLike<number> | Int32Array, shape: Shape = [values.length]): Tensor {
    const tensor = this.keep(this.device.tensor("i32", shape));
    this.stream.upload(tensor, values instanceof Int32Array ? values : Int32Array.from(values));
    return tensor;
  }

  /** Full of NaN (or -1): what is not written shows. */
  output(dtype: DType, shape: Shape): Tensor {
    const tensor = this.keep(this.device.tensor(dtype, shape));
    this.stream.fill(tensor, 0xff);
    return tensor;
  }

  /** A bf16 weight for `linear` that keeps the size of its input. Shared with the next problem. */
  matrix(n: number, k: number): Tensor {
    return this.matrices.get(n, k);
  }

  /** Likewise [experts, n, k] for `grouped_linear`. */
  experts(experts: number, n: number, k: number): Tensor {
    return this.matrices.ofExperts(experts, n, k);
  }

  /** Frees `tensor`, such as a view, with the rest. */
  keep(tensor: Tensor): Tensor {
    this.owned.push(tensor);
    return tensor;
  }

  /** All of it; nothing may be in flight. */
  free(): void {
    for (const tensor of this.owned.reverse()) tensor.free();
    this.owned.length = 0;
  }

  /** The block from `start` on, around its end; the rest is copied on the device. */
  private fill(tensor: Tensor, block: Float32Array | Uint16Array, start: number): void {
    const count = tensor.elements;
    const flat = new Flat(tensor);
    let filled = 0;
    for (const part of [block.subarray(start), block.subarray(0, start)]) {
      const piece = part.subarray(0, count - filled);
      if (piece.length > 0) flat.use(filled, piece.length, (target) => this.stream.upload(target, piece));
      filled += piece.length;
    }
    while (filled < count) {
      const size = Math.min(filled, count - filled);
      flat.use(0, size, (source) => flat.use(filled, size, (target) => this.stream.copy(target, source)));
      filled += size;
    }
  }
}

/** Pieces of a tensor's memory. */
class Flat {
  constructor(private readonly tensor: Tensor) {}

  use(begin: number, size: number, body: (piece: Tensor) => void): void {
    const piece = this.tensor.view({ shape: [size], offset: begin });
    body(piece);
    piece.free();
  }
}
