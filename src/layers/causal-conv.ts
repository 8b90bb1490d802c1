import {
  type CausalConv1dUpdateArgs,
  type CausalConv1dVarlenArgs,
  causalConv1dReplay,
  causalConv1dUpdate,
  causalConv1dVarlen,
} from "../ops/conv1d";
import type { Replays } from "../step/fields/replays";
import type { Tensor } from "../tensor/tensor";
import type { WeightDescriptor } from "../weights/descriptor";
import { initial } from "../weights/dummy";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { recurrentInitial } from "./recurrent-initial";
import { length } from "./share";
import type { SlotTensor } from "./slot-cache";

/** Arguments that are a layer's own, not a step's. */
type Own = "state" | "weight" | "bias" | "silu";
export type ConvPrefill = Omit<CausalConv1dVarlenArgs, Own>;
export type ConvDecode = Omit<CausalConv1dUpdateArgs, Own>;

/** silu of a causal convolution of each channel by itself, over its last few inputs. */
export class CausalConv {
  private constructor(
    private readonly weight: Tensor,
    private readonly bias: Tensor | undefined,
    /** The last inputs of a sequence, which its next step begins with. */
    readonly state: SlotTensor,
    /** Where tokens may be taken back: the last of a row lies where the oldest of its window was. */
    private readonly isRing: boolean,
  ) {}

  /** `inputScales`: a factor of each channel's inputs; default 1. `channels`: this rank's, of `all`. */
  static load(
    build: ModelBuild,
    weights: WeightScope,
    { all, channels }: { readonly all: number; readonly channels: readonly Range[] },
    width: number,
    bias: boolean,
    inputScales?: readonly number[],
  ): CausalConv {
    const { loader, dtype } = build;
    const dim = channels.reduce((sum, range) => sum + length(range), 0);
    const own = (weight: WeightDescriptor) => build.rows(weight, channels);
    const scaled = (values: Float32Array) =>
      inputScales === undefined ? values : values.map((tap, i) => tap * inputScales[Math.floor(i / width)]!);
    const taps = weights.tensor("weight", [all, 1, width], recurrentInitial.taps(width));
    const weight = loader.vector(own(taps), {
      change: (values) => transpose(scaled(values), dim, width),
      shape: [width, dim],
    });
    const added = bias ? loader.vector(own(weights.tensor("bias", [all], initial.zeros))) : undefined;
    const isRing = build.rowTokens > 1;
    const entries = isRing ? width - 2 + build.rowTokens : width - 1;
    return new CausalConv(weight, added, { shape: [entries, dim], dtype }, isRing);
  }

  // Arguments are written out: to spread two objects into a third takes longer than the call of an op.
  prefill({ stream }: Forward, part: ConvPrefill, state: Tensor): void {
    causalConv1dVarlen(stream, {
      out: part.out,
      x: part.x,
      queryStartLoc: part.queryStartLoc,
      slots: part.slots,
      hasInitialState: part.hasInitialState,
      blockSeq: part.blockSeq,
      blockOffset: part.blockOffset,
      blockSize: part.blockSize,
      snapshotEnds: part.snapshotEnds,
      snapshotSlots: part.snapshotSlots,
      weight: this.weight,
      bias: this.bias,
      silu: true,
      state,
    });
  }

  /** `replays`: where states may lag behind. */
  decode({ stream }: Forward, { out, x, slots }: ConvDecode, state: Tensor, replays: Replays | null): void {
    const own = { weight: this.weight, bias: this.bias, silu: true, state };
    if (replays === null || !this.isRing) causalConv1dUpdate(stream, { out, x, slots, ...own });
    else causalConv1dReplay(stream, { out, x, slots, replay: replays.rows, ...own });
  }
}

/** [rows, columns] -> [columns, rows]. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  return out;
}
