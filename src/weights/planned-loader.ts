import { elementsOf } from "../tensor/shape";
import { Tensor } from "../tensor/tensor";
import type { MatrixDescriptor, WeightDescriptor } from "./descriptor";
import { packedForm, type QuantizeFormat, tableDtype } from "./packed-form";
import { type ExpertsView, packedBytes, type WeightView } from "./view";
import type { ComputeDtype, MatrixOptions, VectorOptions, WeightLoader } from "./weight-loader";

/** No tensor on any device. */
const NO_HANDLE = 0 as Tensor["handle"];

/** Loads nothing: for a model that only says what it would need. Its tensors have shapes and no memory. */
export class PlannedLoader implements WeightLoader {
  private readonly counted = new Set<string>();
  /** Elements that would be loaded: the model's parameters. */
  parameters = 0;

  constructor(
    readonly dtype: ComputeDtype,
    private readonly quantize: QuantizeFormat | null = null,
  ) {}

  matrix(weight: MatrixDescriptor, options: MatrixOptions = {}): WeightView {
    return { ...this.product(weight, options), shape: weight.shape as [number, number] };
  }

  experts(weight: MatrixDescriptor, options: MatrixOptions = {}): ExpertsView {
    return { ...this.product(weight, options), shape: weight.shape as [number, number, number] };
  }

  private product(weight: MatrixDescriptor, options: MatrixOptions): { data: Tensor; bytes: number } {
    this.count(weight);
    const { dtype, group } = packedForm(weight, this.dtype, this.quantize, options);
    const k = weight.shape.at(-1)!;
    const bytes = packedBytes(dtype, elementsOf(weight.shape) / k, k, group);
    return { data: this.planned(dtype, weight.shape), bytes };
  }

  table(weight: WeightDescriptor): Tensor {
    this.count(weight);
    return this.planned(tableDtype(weight, this.dtype), weight.shape);
  }

  vector(weight: WeightDescriptor, { shape }: VectorOptions = {}): Tensor {
    this.count(weight);
    return this.planned("f32", shape ?? [elementsOf(weight.shape)]);
  }

  scalar(weight: WeightDescriptor): number {
    this.count(weight);
    return 1;
  }

  constant(values: readonly number[]): Tensor {
    return this.planned("f32", [values.length]);
  }

  async settle(): Promise<void> {}

  private planned(dtype: Tensor["dtype"], shape: readonly number[]): Tensor {
    return new Tensor(NO_HANDLE, dtype, shape);
  }

  /** A tied embedding is asked for twice, as table and as matrix, and counted once. */
  private count({ name, shape }: MatrixDescriptor): void {
    if (this.counted.has(name)) return;
    this.counted.add(name);
    this.parameters += elementsOf(shape);
  }
}
