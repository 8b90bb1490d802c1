import type { DeviceHandle } from "../native/abi";
import { addon } from "../native/load";
import { settled } from "../native/settled";
import { Graph } from "./graph";
import type { Tensor } from "./tensor";

const ALL = -1;

/** The device's queue. Ops and copies are launched here and run in order, apart from the event loop. */
export class Stream {
  private marks = 0;

  constructor(readonly handle: DeviceHandle) {}

  /**
   * Copies raw bits to a contiguous tensor: to all of it, or to as much as there is from element `at` on. `data` may be reused
   * at once. Refused while capturing (ERR_CAPTURE).
   */
  upload(tensor: Tensor, data: ArrayBufferView, at = ALL): void {
    addon().upload(this.handle, tensor.handle, data, at);
  }

  /** The other way: `data` has it when the promise settles. Rejects with ERR_ARGUMENT where its memory was transferred meanwhile. */
  download(tensor: Tensor, data: ArrayBufferView, at = ALL): Promise<void> {
    return settled(addon().download(this.handle, tensor.handle, data, at));
  }

  copy(target: Tensor, source: Tensor): void {
    addon().copy(this.handle, target.handle, source.handle);
  }

  /** Sets every byte of a contiguous tensor. */
  fill(tensor: Tensor, byte: number): void {
    addon().fill(this.handle, tensor.handle, byte);
  }

  /** Transfers from now on run after all that was launched so far. */
  orderTransfers(): void {
    addon().orderTransfers(this.handle);
  }

  /** Copies row `from` of `source` to row `to` of `target`, one of them in pinned memory, beside what is launched. */
  transferRow(target: Tensor, to: number, source: Tensor, from: number): void {
    addon().transferRow(this.handle, target.handle, to, source.handle, from);
  }

  /** Settles when all transfers so far are done. */
  transferred(): Promise<void> {
    return settled(addon().transferred(this.handle));
  }

  /** Settles when all launched so far is done; rejects with the first failure since the last such promise. */
  done(): Promise<void> {
    return settled(addon().done(this.handle));
  }

  /** Records what `body` launches instead of running it. */
  capture(body: () => void): Graph {
    addon().beginCapture(this.handle);
    try {
      body();
    } catch (error) {
      addon().freeGraph(addon().endCapture(this.handle));
      throw error;
    }
    return new Graph(addon().endCapture(this.handle));
  }

  replay(graph: Graph): void {
    addon().replay(this.handle, graph.handle);
  }

  /** Marks this point for readMarks(). */
  mark(): void {
    addon().mark(this.handle);
    this.marks += 1;
  }

  /** Microseconds on the device from the first mark to each, once the stream is past all of them; then they are forgotten. */
  async readMarks(): Promise<Float64Array> {
    const times = new Float64Array(this.marks);
    this.marks = 0;
    if (times.length > 0) await settled(addon().readMarks(this.handle, times));
    return times;
  }

  /** Microseconds on the device of each of `runs` replays, after all of `scratch` was written if there is one. */
  async timeReplays(graph: Graph, runs: number, scratch?: Tensor): Promise<Float64Array> {
    const times = new Float64Array(runs);
    await settled(addon().timeReplays(this.handle, graph.handle, scratch?.handle ?? 0, times));
    return times;
  }
}
