import { closeSync, openSync, readSync } from "node:fs";
import { EngineError } from "../errors";
import { packExpertWeights } from "../ops/pack-expert-weights";
import { type MatrixSource, packLinearWeight } from "../ops/pack-linear-weight";
import type { Device } from "../tensor/device";
import { sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";
import { WeightFile } from "../tensor/weight-file";
import { equalParts, type FilePart, partsOf, type WeightDescriptor, type WeightDtype } from "./descriptor";
import { DUMMY_PERIOD, fillDummy, repeat } from "./dummy";
import { fromBits, toBits } from "./float-bits";
import type { ExpertsView, WeightView } from "./view";
import type { ComputeDtype, MatrixOptions, VectorOptions, WeightLoader } from "./weight-loader";

/** A checkpoint's file: as the device's threads read it, and as this one reads small tensors. */
interface OpenFile {
  readonly weights: WeightFile;
  readonly descriptor: number;
}

/** Turns descriptors into tensors on a device. Copies run behind the caller; settle() waits for them and tells the progress. */
export class DeviceLoader implements WeightLoader {
  private readonly files = new Map<string, OpenFile>();
  private readonly counted = new Set<string>();
  /** Bytes of what is loaded so far, as it is stored. */
  bytes = 0;
  /** Holds one dummy weight at a time: fresh memory for each would be slower to touch than to fill. */
  private dummyBuffer = new ArrayBuffer(0);
  /** Elements loaded so far: the model's parameters. */
  parameters = 0;

  /** `onProgress` gets the bytes of weights that are on the device. */
  constructor(
    readonly device: Device,
    readonly dtype: ComputeDtype,
    private readonly onProgress: (bytes: number) => void = () => {},
  ) {}

  /** Under f32 activations weights stay what they are: products with them are exact. */
  matrix(weight: WeightDescriptor, { exact = false }: MatrixOptions = {}): WeightView {
    const shape = weight.shape as [number, number];
    const { source, from, to } = this.packing(weight, exact ? weight.dtype : this.productDtype(weight));
    return { format: "plain", data: packLinearWeight(this.device.stream, source, shape, from, to), shape };
  }

  experts(weight: WeightDescriptor): ExpertsView {
    const shape = weight.shape as [number, number, number];
    const { source, from, to } = this.packing(weight, this.productDtype(weight));
    return { format: "plain", data: packExpertWeights(this.device.stream, source, shape, from, to), shape };
  }

  /** Dummy values come in the type that they are packed in. */
  private packing(
    weight: WeightDescriptor,
    to: WeightDtype,
  ): { source: MatrixSource; from: WeightDtype; to: WeightDtype } {
    this.count(weight);
    if ("dummy" in weight.source) return { source: this.dummyBits(weight, to), from: to, to };
    const source = equalParts(weight).map(({ file, offset }) => ({ file: this.open(file).weights.handle, offset }));
    return { source, from: weight.dtype, to };
  }

  private productDtype(weight: WeightDescriptor): WeightDtype {
    return this.dtype === "f32" ? weight.dtype : this.dtype;
  }

  /** A source that is one tensor of a file. */
  table(weight: WeightDescriptor): Tensor {
    const tensor = this.device.tensor(weight.dtype, weight.shape);
    this.count(weight);
    if ("dummy" in weight.source) this.device.stream.upload(tensor, this.dummyBits(weight, weight.dtype));
    else {
      const [{ file, offset }] = partsOf(weight) as [FilePart];
      this.open(file).weights.upload(this.device.stream, tensor, offset);
    }
    return tensor;
  }

  vector(weight: WeightDescriptor, { change = (values) => values, shape }: VectorOptions = {}): Tensor {
    const values = change(this.values(weight));
    const tensor = this.device.tensor("f32", shape ?? [values.length]);
    this.count(weight);
    this.device.stream.upload(tensor, values);
    return tensor;
  }

  scalar(weight: WeightDescriptor): number {
    this.count(weight);
    return this.values(weight)[0]!;
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
    for (const { weights, descriptor } of this.files.values()) {
      weights.close();
      closeSync(descriptor);
    }
    this.files.clear();
  }

  private values(weight: WeightDescriptor): Float32Array {
    if ("dummy" in weight.source) return dummyValues(weight);
    return fromBits(this.read(weight).buffer, weight.dtype);
  }

  private read(weight: WeightDescriptor): Uint8Array<ArrayBuffer> {
    const parts = partsOf(weight);
    const raw = new Uint8Array(parts.reduce((sum, { bytes }) => sum + bytes, 0));
    let at = 0;
    for (const { file, offset, bytes } of parts) {
      if (readSync(this.open(file).descriptor, raw, at, bytes, offset) !== bytes) {
        const message = `${file}: tensor ${weight.name} is cut off: copy or download the file again`;
        throw new EngineError("ERR_WEIGHTS", message);
      }
      at += bytes;
    }
    return raw;
  }

  /** Memory of a dummy weight, good until the next one. It is converted before it is repeated, which is what takes time. */
  private dummyBits(weight: WeightDescriptor, dtype: WeightDtype): Float32Array | Uint16Array {
    const drawn = toBits(dummyValues(weight, DUMMY_PERIOD), dtype);
    const count = elementsOf(weight.shape);
    const bytes = count * sizeOf(dtype);
    if (this.dummyBuffer.byteLength < bytes) this.dummyBuffer = new ArrayBuffer(bytes);
    const bits =
      dtype === "f32" ? new Float32Array(this.dummyBuffer, 0, count) : new Uint16Array(this.dummyBuffer, 0, count);
    bits.set(drawn);
    repeat(bits, DUMMY_PERIOD);
    return bits;
  }

  private open(path: string): OpenFile {
    let file = this.files.get(path);
    if (file === undefined) {
      file = { weights: WeightFile.open(path), descriptor: openSync(path, "r") };
      this.files.set(path, file);
    }
    return file;
  }

  /** A tied embedding is loaded twice, as table and as matrix, and counted once. */
  private count(weight: WeightDescriptor): void {
    if (this.counted.has(weight.name)) return;
    this.counted.add(weight.name);
    const elements = elementsOf(weight.shape);
    this.parameters += elements;
    this.bytes += elements * sizeOf(weight.dtype);
  }
}

/** The first values, at most `limit`. */
function dummyValues({ name, source, shape }: WeightDescriptor, limit = Number.POSITIVE_INFINITY): Float32Array {
  if (!("dummy" in source)) throw new EngineError("ERR_ARGUMENT", `${name} is not a dummy weight`);
  const values = new Float32Array(Math.min(elementsOf(shape), limit));
  fillDummy(source.dummy.law, source.dummy.seed, values);
  return values;
}
