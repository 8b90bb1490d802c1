import type { AnyField } from "../step/field";
import type { DType } from "../tensor/dtype";
import type { MatrixDescriptor } from "../weights/descriptor";
import { pickColumns, pickRows } from "../weights/pick";
import type { Range } from "../weights/range";
import type { WeightLoader } from "../weights/weight-loader";
import type { CacheHandle, CacheSpec, Pools } from "./cache";
import { onlyRank, type Rank } from "./share";

export interface BuildOptions {
  /** Type of recurrent states. */
  readonly stateDtype: DType;
  /** Type of keys and values, u8 where they are codes of e4m3; default the activations'. */
  readonly kvDtype?: DType | undefined;
  /** Tokens of a decode row at most. Above 1 the later ones may be taken back, so recurrent states keep a history. Default 1. */
  readonly rowTokens?: number;
  /** Whether the checkpoint's head of multi-token prediction is loaded too. Default false. */
  readonly withMtp?: boolean | undefined;
  /** Which share of each layer is built; default all of it. */
  readonly place?: Rank | undefined;
  /** Whether states may lag behind plain decodes, where a layer gains by that. Default false. */
  readonly lags?: boolean;
}

/** What a model is built with: the weights' loader, and the record of what its layers need in a step. */
export class ModelBuild {
  /** In the order of their handles. */
  readonly caches: CacheSpec[] = [];
  /** Step metadata that the layers read, each field once. */
  readonly fields: AnyField[] = [];
  /** How many of the parameters a token does not use. */
  idleParameters = 0;
  /** Whether states of a layer lag behind plain decodes. */
  statesLag = false;
  private readonly keys = new Map<string, object>();
  private readonly shares = new Map<object, object>();

  readonly stateDtype: DType;
  readonly kvDtype: DType;
  readonly rowTokens: number;
  readonly withMtp: boolean;
  readonly place: Rank;
  readonly lags: boolean;

  constructor(
    readonly loader: WeightLoader,
    {
      stateDtype,
      kvDtype = loader.dtype,
      rowTokens = 1,
      withMtp = false,
      place = onlyRank,
      lags = false,
    }: BuildOptions,
  ) {
    this.stateDtype = stateDtype;
    this.kvDtype = kvDtype;
    this.rowTokens = rowTokens;
    this.withMtp = withMtp;
    this.place = place;
    this.lags = lags;
  }

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

  /** This rank's share of layers of a configuration: the same object for all that have the same one. */
  share<Config extends object, Share extends object>(
    config: Config,
    make: (config: Config, place: Rank) => Share,
  ): Share {
    let share = this.shares.get(config) as Share | undefined;
    if (share === undefined) {
      share = make(config, this.place);
      this.shares.set(config, share);
    }
    return share;
  }

  /** This rank's rows of a tensor of all ranks. */
  rows<D extends MatrixDescriptor>(weight: D, own: readonly Range[]): D {
    return this.place.ranks === 1 ? weight : pickRows(weight, own);
  }

  /** This rank's columns of a matrix of all ranks. */
  columns(weight: MatrixDescriptor, own: Range): MatrixDescriptor {
    return this.place.ranks === 1 ? weight : pickColumns(weight, own);
  }

  /** Says that a layer reads this field in a forward pass. Two fields of one id are the same one. */
  field<Field extends AnyField>(field: Field): Field {
    if (!this.fields.some(({ id }) => id === field.id)) this.fields.push(field);
    return field;
  }
}
