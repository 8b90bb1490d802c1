import type { CacheHandle, Pools } from "../layers/cache";
import type { Forward } from "../layers/forward";
import type { StepViews } from "../step/block";
import type { AnyField } from "../step/field";
import type { Arena } from "../tensor/arena";
import type { Stream } from "../tensor/stream";

/** One step's pass, over the pools of a loaded model. What it hands out lives as long as the arena's current scope. */
export class StepForward implements Forward {
  private readonly shared = new Map<object, unknown>();

  constructor(
    readonly stream: Stream,
    readonly arena: Arena,
    readonly numTokens: number,
    readonly numPrefillTokens: number,
    private readonly views: StepViews,
    private readonly pools: readonly Pools[],
  ) {}

  view<View>(field: AnyField<View>): View | null {
    return this.views.get(field);
  }

  cache<P extends Pools>({ index }: CacheHandle<P>): P {
    return this.pools[index] as P;
  }

  once<T>(key: object, make: () => T): T {
    let value = this.shared.get(key);
    if (value === undefined) {
      value = make();
      this.shared.set(key, value);
    }
    return value as T;
  }
}
