import type { DeviceHandle } from "../native/abi";
import { call } from "../native/call";
import { Arena } from "./arena";
import { codeOf, type DType } from "./dtype";
import { fourOf, type Shape } from "./shape";
import { Stream } from "./stream";
import { Tensor } from "./tensor";

export type DeviceKind = "cpu";

export interface DeviceOptions {
  readonly kind: DeviceKind;
  /** CPU: threads that compute, the stream's own included. Default: one per core that the process may use. */
  readonly threads?: number;
}

export interface DeviceDescription {
  readonly kind: DeviceKind;
  readonly isa: string;
  readonly threads: number;
}

/** Where tensors live and ops run: memory and one stream. */
export class Device {
  readonly stream: Stream;

  private constructor(private readonly handle: DeviceHandle) {
    this.stream = new Stream(handle);
  }

  /** Throws ERR_NOT_BUILT where the backend is missing. */
  static open({ kind, threads = 0 }: DeviceOptions): Device {
    return new Device(call("openDevice", kind, threads));
  }

  describe(): DeviceDescription {
    return JSON.parse(call("describeDevice", this.handle)) as DeviceDescription;
  }

  /** Bytes. */
  memory(): { free: number; total: number } {
    const values = new Float64Array(2);
    call("deviceMemory", this.handle, values);
    return { free: values[0]!, total: values[1]! };
  }

  /** Memory of its own, uninitialised. Throws ERR_MEMORY. */
  tensor(dtype: DType, shape: Shape): Tensor {
    return new Tensor(call("createTensor", this.handle, codeOf(dtype), shape.length, ...fourOf(shape)), dtype, shape);
  }

  arena(bytes: number): Arena {
    return Arena.create(this.handle, bytes);
  }

  measuringArena(): Arena {
    return Arena.measuring(this.handle);
  }

  /** Waits for the stream (blocking) and frees everything on the device. */
  close(): void {
    call("closeDevice", this.handle);
  }
}
