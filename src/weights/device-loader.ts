import { packExpertWeights } from "../ops/pack-expert-weights";
import { type MatrixSource, type PackedDtype, packLinearWeight, type Quantization } from "../ops/pack-linear-weight";
import type { Device } from "../tensor/device";
import { type DType, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";
import { WeightFile } from "../tensor/weight-file";
import {
  dummiesOf,
  isQuantized,
  type MatrixDescriptor,
  partsOf,
  storedBytes,
  type WeightDescriptor,
  type WeightDtype,
} from "./descriptor";
import { copyDummies, DUMMY_PERIOD, type DummyPart, dummyValues, fillDummy } from "./dummy";
import { toBits } from "./float-bits";
import { type PackedForm, packedForm, type QuantizeFormat, tableDtype } from "./packed-form";
import { equalParts, type FilePart } from "./part";
import { floatsOfCodes, readQuantized } from "./quantized-rows";
import { readPart } from "./read-part";
import { valuesOf } from "./values";
import { type ExpertsView, packedBytes, type WeightView } from "./view";
import type { ComputeDtype, MatrixOptions, VectorOptions, WeightLoader } from "./weight-loader";

/** Matrices as the addon packs them. */
interface Packing {
  readonly source: MatrixSource;
  readonly from: DType;
  readonly to: PackedDtype;
  readonly quantization: Partial<Quantization>;
}

/** Turns descriptors into tensors on a device. Copies run behind the caller; settle() waits for them and tells the progress. */
export class DeviceLoader implements WeightLoader {
  private readonly files = new Map<string, WeightFile>();
  private readonly counted = new Set<string>();
  /** Bytes of what is loaded so far, as it is stored. */
  bytes = 0;
  /** Holds one dummy weight at a time: fresh memory for each would be slower to touch than to fill. */
  private dummyBuffer = new ArrayBuffer(0);
  private readonly drawn = new Map<
    WeightDtype,
    Pick<DummyPart, "law" | "seed"> & { bits: Float32Array | Uint16Array }
  >();
  /** Elements loaded so far: the model's parameters. */
  parameters = 0;

  /** `onProgress` gets the bytes of weights that are on the device. */
  constructor(
    readonly device: Device,
    readonly dtype: ComputeDtype,
    private readonly onProgress: (bytes: number) => void = () => {},
    private readonly quantize: QuantizeFormat | null = null,
  ) {}

  matrix(weight: MatrixDescriptor, options: MatrixOptions = {}): WeightView {
    const shape = weight.shape as [number, number];
    const [n, k] = shape;
    const form = packedForm(weight, this.dtype, this.quantize, options, this.device.kind);
    const { source, from, to, quantization } = this.packing(weight, form);
    const data = packLinearWeight(this.device.stream, source, shape, from, to, quantization);
    return { data, shape, bytes: packedBytes(form.dtype, n, k, form.group) };
  }

  experts(weight: MatrixDescriptor, options: MatrixOptions = {}): ExpertsView {
    const shape = weight.shape as [number, number, number];
    const [experts, n, k] = shape;
    // groupedLinear rounds no inputs.
    const form = { ...packedForm(weight, this.dtype, this.quantize, options, this.device.kind), quantizeX: false };
    const { source, from, to, quantization } = this.packing(weight, form);
    const data = packExpertWeights(this.device.stream, source, shape, from, to, quantization);
    return { data, shape, bytes: packedBytes(form.dtype, experts * n, k, form.group) };
  }

  /** Dummy values come in the type that they are packed in, or quantized from. */
  private packing(weight: MatrixDescriptor, { dtype: to, group, quantizeX, isRequantized }: PackedForm): Packing {
    this.count(weight);
    if (isQuantized(weight)) {
      if (isRequantized) {
        return { source: floatsOfCodes(weight.rows, readPart), from: "f32", to, quantization: { group, quantizeX } };
      }
      const { codes, scales, offsets } = readQuantized(weight);
      const source = ArrayBuffer.isView(codes) ? codes : this.sources(codes);
      return { source, from: weight.codes, to, quantization: { group: weight.group, quantizeX, scales, offsets } };
    }
    const quantization = { group, quantizeX };
    if ("dummy" in weight.source) {
      const from = to === "f32" || to === "bf16" || to === "f16" ? to : weight.dtype;
      return { source: this.dummyBits(weight, from), from, to, quantization };
    }
    if ("values" in weight.source) return { source: weight.source.values(readPart), from: "f32", to, quantization };
    return { source: this.sources(partsOf(weight)), from: weight.dtype, to, quantization };
  }

  private sources(parts: readonly FilePart[]): MatrixSource {
    return equalParts(parts).map(({ file, offset, rows }) => ({
      file: this.open(file).handle,
      offset,
      stride: rows?.stride,
    }));
  }

  table(weight: WeightDescriptor): Tensor {
    const dtype = tableDtype(weight, this.dtype);
    const tensor = this.device.tensor(dtype, weight.shape);
    this.count(weight);
    if ("dummy" in weight.source) this.device.stream.upload(tensor, this.dummyBits(weight, dtype));
    else if ("values" in weight.source) {
      this.device.stream.upload(tensor, toBits(weight.source.values(readPart), dtype));
    } else {
      const [{ file, offset, rows }, ...others] = partsOf(weight) as [FilePart, ...FilePart[]];
      if (rows === undefined && others.length === 0) this.open(file).upload(this.device.stream, tensor, offset);
      else this.device.stream.upload(tensor, Buffer.concat(partsOf(weight).map(readPart)));
    }
    return tensor;
  }

  vector(weight: WeightDescriptor, { change = (values) => values, shape }: VectorOptions = {}): Tensor {
    const values = change(valuesOf(weight, readPart));
    const tensor = this.device.tensor("f32", shape ?? [values.length]);
    this.count(weight);
    this.device.stream.upload(tensor, values);
    return tensor;
  }

  scalar(weight: WeightDescriptor): number {
    this.count(weight);
    return valuesOf(weight, readPart)[0]!;
  }

  constant(values: readonly number[]): Tensor {
    const tensor = this.device.tensor("f32", [values.length]);
    this.device.stream.upload(tensor, Float32Array.from(values));
    return tensor;
  }

  /** Waits until all of it is on the device. Rejects with the first failure. */
  async settle(): Promise<void> {
    await this.device.stream.done();
    this.onProgress(this.bytes);
  }

  /** Gives up the files; call after the last settle(). */
  close(): void {
    this.dummyBuffer = new ArrayBuffer(0);
    this.drawn.clear();
    for (const file of this.files.values()) file.close();
    this.files.clear();
  }

  /** Memory of a dummy weight, good until the next one. Of large ones the values are converted before they are repeated. */
  private dummyBits(weight: WeightDescriptor, dtype: WeightDtype): Float32Array | Uint16Array {
    const count = elementsOf(weight.shape);
    const parts = dummiesOf(weight);
    const elementBytes = sizeOf(weight.dtype);
    if (count < DUMMY_PERIOD) return toBits(dummyValues(parts, elementBytes), dtype);
    const bytes = count * sizeOf(dtype);
    if (this.dummyBuffer.byteLength < bytes) this.dummyBuffer = new ArrayBuffer(bytes);
    const bits =
      dtype === "f32" ? new Float32Array(this.dummyBuffer, 0, count) : new Uint16Array(this.dummyBuffer, 0, count);
    copyDummies(parts, elementBytes, (part) => this.drawnBits(part, dtype), bits);
    return bits;
  }

  /** A period of the sequence. The last one is kept for each type: matrices have one law. */
  private drawnBits({ law, seed }: DummyPart, dtype: WeightDtype): Float32Array | Uint16Array {
    const kept = this.drawn.get(dtype);
    if (kept?.law === law && kept.seed === seed) return kept.bits;
    const values = new Float32Array(DUMMY_PERIOD);
    fillDummy(law, seed, values);
    const bits = toBits(values, dtype);
    this.drawn.set(dtype, { law, seed, bits });
    return bits;
  }

  private open(path: string): WeightFile {
    let file = this.files.get(path);
    if (file === undefined) {
      file = WeightFile.open(path);
      this.files.set(path, file);
    }
    return file;
  }

  /** A tied embedding is loaded twice, as table and as matrix, and counted once. */
  private count(weight: MatrixDescriptor): void {
    if (this.counted.has(weight.name)) return;
    this.counted.add(weight.name);
    this.parameters += elementsOf(weight.shape);
    this.bytes += storedBytes(weight);
  }
}
