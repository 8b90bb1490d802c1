import type { DeviceHandle } from "../native/abi";
import { addon } from "../native/load";
import { Arena } from "./arena";
import { codeOf, type DType } from "./dtype";
import { fourOf, type Shape } from "./shape";
import { Stream } from "./stream";
import { Tensor } from "./tensor";

/** Every backend that there is source code for, in the order in which "auto" tries them. The CPU is always there. */
export const deviceKinds = ["cuda", "cpu"] as const;
export type DeviceKind = (typeof deviceKinds)[number];

export interface DeviceOptions {
  readonly kind: DeviceKind;
  /** CPU: threads that compute, the stream's own included. Default: one per core that the process may use. */
  readonly threads?: number;
  /**
   * Ops give a row, or a sequence, the same bits whatever else they are launched with, as they always do on the CPU. Default
   * false.
   */
  readonly deterministic?: boolean;
  /** A GPU's number among those that this process sees. Default 0. */
  readonly index?: number;
}

export interface CpuDescription {
  readonly kind: "cpu";
  readonly isa: string;
  readonly threads: number;
}

export interface CudaDescription {
  readonly kind: "cuda";
  readonly name: string;
  /** Compute capability, such as "9.0". */
  readonly capability: string;
  readonly multiprocessors: number;
  /** Bytes. */
  readonly memory: number;
  /** Newest version of CUDA that the driver knows. */
  readonly driver: string;
  /** Version of CUDA that the backend is built with. */
  readonly runtime: string;
}

export type DeviceDescription = CpuDescription | CudaDescription;

/** Such as "NVIDIA H200, compute capability 9.0". */
export function describeDevice(device: DeviceDescription): string {
  return device.kind === "cpu"
    ? `${device.isa}, ${device.threads} threads`
    : `${device.name}, compute capability ${device.capability}`;
}

/** Where tensors live and ops run: memory and one stream. */
export class Device {
  readonly stream: Stream;

  private constructor(
    private readonly handle: DeviceHandle,
    readonly kind: DeviceKind,
  ) {
    this.stream = new Stream(handle);
  }

  /** Throws ERR_NOT_BUILT where the backend is missing, ERR_NO_DEVICE where the machine has no such device. */
  static open({ kind, threads = 0, deterministic = false, index = 0 }: DeviceOptions): Device {
    return new Device(addon().openDevice(kind, threads, deterministic, index), kind);
  }

  /**
   * Several of one kind compute together from now on, each with its place as its rank: collective ops meet the others there. Throws
   * ERR_NO_DEVICE where GPUs cannot map each other's memory.
   */
  static join(devices: readonly Device[]): void {
    addon().joinGroup(Int32Array.from(devices, ({ handle }) => handle));
  }

  /** Ends the waiting for a rank that will not come: what is launched on the group fails with ERR_DEVICE_LOST from now on. */
  failGroup(): void {
    addon().failGroup(this.handle);
  }

  /** The first call of an op with a new shape takes longer than the next, because it chooses among kernels by their times. */
  get choosesKernels(): boolean {
    return this.kind === "cuda";
  }

  describe(): DeviceDescription {
    return JSON.parse(addon().describeDevice(this.handle)) as DeviceDescription;
  }

  /** Bytes. */
  memory(): { free: number; total: number } {
    const values = new Float64Array(2);
    addon().deviceMemory(this.handle, values);
    return { free: values[0]!, total: values[1]! };
  }

  /** Memory of its own, uninitialised. Throws ERR_MEMORY. */
  tensor(dtype: DType, shape: Shape): Tensor {
    return new Tensor(addon().createTensor(this.handle, codeOf(dtype), shape.length, ...fourOf(shape)), dtype, shape);
  }

  /** In pinned host memory, uninitialised: transfers take it (Stream.transferRow), and no op. Throws ERR_MEMORY. */
  pinnedTensor(dtype: DType, shape: Shape): Tensor {
    const handle = addon().createPinnedTensor(this.handle, codeOf(dtype), shape.length, ...fourOf(shape));
    return new Tensor(handle, dtype, shape);
  }

  arena(bytes: number): Arena {
    return Arena.create(this.handle, bytes);
  }

  measuringArena(): Arena {
    return Arena.measuring(this.handle);
  }

  /** Waits for the stream (blocking) and frees everything on the device. */
  close(): void {
    addon().closeDevice(this.handle);
  }
}
