import type { AnyField } from "../step/field";
import type { Arena } from "../tensor/arena";
import type { Stream } from "../tensor/stream";
import type { CacheHandle, Pools } from "./cache";

/** One pass of a step's tokens through a model. Token rows: those of the prefills first, then those of the decodes. */
export interface Forward {
  readonly stream: Stream;
  readonly arena: Arena;
  readonly numTokens: number;
  readonly numPrefillTokens: number;

  /** The step's metadata, as the layer declared it; null where the step does not need it. */
  view<View>(field: AnyField<View>): View | null;
  /** The pools of a cache that the layer declared. */
  cache<P extends Pools>(handle: CacheHandle<P>): P;
  /**
   * What layers of one shape share in a step, such as buffers and their views: made by the first of them, for the whole step.
   * `key` is the same object for all of them.
   */
  once<T>(key: object, make: () => T): T;
}
