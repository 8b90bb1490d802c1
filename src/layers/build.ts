import type { AnyField } from "../step/field";
import type { DType } from "../tensor/dtype";
import type { WeightLoader } from "../weights/weight-loader";
import type { CacheHandle, CacheSpec, Pools } from "./cache";

/** What a model is built with: the weights' loader, and the record of what its layers need in a step. */
export class ModelBuild {
  /** In the order of their handles. */
  readonly caches: CacheSpec[] = [];
  /** Step metadata that the layers read, each field once. */
  readonly fields: AnyField[] = [];
  /** How many of the parameters a token does not use. */
  idleParameters = 0;
  private readonly keys = new Map<string, object>();

  /**
   * `stateDtype`: the type of recurrent states; `kvDtype`: of keys and values, u8 where they are codes of e4m3; `rowTokens`:
   * tokens of a decode row at most. Above 1 the later ones may be taken back, so recurrent states keep a history. `withMtp`:
   * whether the checkpoint's head of multi-token prediction is loaded too.
   */
  constructor(
    readonly loader: WeightLoader,
    readonly stateDtype: DType,
    readonly kvDtype: DType = loader.dtype,
    readonly rowTokens = 1,
    readonly withMtp = false,
  ) {}

  /** The type of activations. */
  get dtype(): DType {
    return this.loader.dtype;
  }

  /** A cache of one use of a layer: a layer that is used twice in a pass declares two. */
  cache<P extends Pools>(spec: CacheSpec<P>): CacheHandle<P> {
    return { index: this.caches.push(spec) - 1, spec };
  }

  /** The key of what layers share in a step under this name (Forward.once). */
  shared(name: string): object {
    let key = this.keys.get(name);
    if (key === undefined) {
      key = { name };
      this.keys.set(name, key);
    }
    return key;
  }

  /** Says that a layer reads this field in a forward pass. Two fields of one id are the same one. */
  field<Field extends AnyField>(field: Field): Field {
    if (!this.fields.some(({ id }) => id === field.id)) this.fields.push(field);
    return field;
  }
}
