import { type Device, type DeviceKind, describeDevice } from "../tensor/device";
import { Floor, floorMicroseconds, type Rates } from "./floor";
import { Inputs } from "./inputs";
import type { SharedCase } from "./kernel-cases";
import { Matrices } from "./matrices";
import { type PeerFigures, type PeerTime, peerOfKernel } from "./peers";
import { Timer } from "./timer";

/** A line of bench/results; times are medians in microseconds, of launches with nothing in the caches. */
export interface KernelResult {
  readonly op: string;
  readonly case: string;
  /** The first model that has it. */
  readonly model: string;
  readonly models: readonly string[];
  readonly device: DeviceKind;
  readonly hardware: string;
  readonly dtype: string;
  readonly state_dtype: string | null;
  readonly us: number;
  /** A copy of as many bytes, with its launch. */
  readonly copy_us: number;
  readonly bytes: number;
  readonly flops: number;
  readonly floor_us: number;
  /** floor_us / us */
  readonly share: number;
  readonly peer: string | null;
  readonly peer_us: number | null;
}

/** Times cases on a device, one after the other. */
export class KernelBench {
  readonly hardware: string;
  private readonly timer: Timer;
  private readonly floor: Floor;
  private readonly matrices: Matrices;

  constructor(
    private readonly device: Device,
    runs: number,
    private readonly peers: PeerFigures | null,
  ) {
    this.hardware = hardwareOf(device);
    this.timer = new Timer(device, runs);
    this.floor = new Floor(device, this.timer);
    this.matrices = new Matrices(device);
  }

  rates(): Promise<Rates> {
    return this.floor.rates();
  }

  async measure(one: SharedCase, rates: Rates): Promise<KernelResult> {
    const inputs = new Inputs(this.device, this.matrices);
    const us = await this.timer.microseconds(one.timed(inputs).launch);
    inputs.free();
    const copyUs = await this.floor.copyMicroseconds(one.bytes);
    const floorUs = floorMicroseconds(one, rates);
    const peer: PeerTime | null = this.peers === null ? null : peerOfKernel(this.peers, one.op, one.name);
    return {
      op: one.op,
      case: one.name,
      model: one.models[0]!,
      models: one.models,
      device: this.device.kind,
      hardware: this.hardware,
      dtype: "bf16",
      state_dtype: one.stateDtype,
      us: rounded(us),
      copy_us: rounded(copyUs),
      bytes: one.bytes,
      flops: one.flops,
      floor_us: rounded(floorUs),
      share: rounded(floorUs / us),
      peer: peer?.peer ?? null,
      peer_us: peer?.us ?? null,
    };
  }
}

/** Such as "NVIDIA H200" or "avx2, 4 threads". */
export function hardwareOf(device: Device): string {
  const description = device.describe();
  return description.kind === "cuda" ? description.name : describeDevice(description);
}

/** Four digits say all that a measurement knows. */
export const rounded = (value: number): number => Number(value.toPrecision(4));
