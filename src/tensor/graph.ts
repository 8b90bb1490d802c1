import type { GraphHandle } from "../native/abi";
import { call } from "../native/call";

/** A captured sequence of launches with their addresses; made by Stream.capture(), run by Stream.replay(). */
export class Graph {
  constructor(readonly handle: GraphHandle) {}

  /** Launches in it. */
  get nodes(): number {
    return call("graphNodes", this.handle);
  }

  free(): void {
    call("freeGraph", this.handle);
  }
}
