import type { GraphHandle } from "../native/abi";
import { addon } from "../native/load";

/** A captured sequence of launches with their addresses; made by Stream.capture(), run by Stream.replay(). */
export class Graph {
  constructor(readonly handle: GraphHandle) {}

  /** Launches in it. */
  get nodes(): number {
    return addon().graphNodes(this.handle);
  }

  free(): void {
    addon().freeGraph(this.handle);
  }
}
