import { type HostDtype, type KeptTensor, scalesOf } from "../layers/cache";
import type { Model } from "../models/model";
import { packState, unpackState } from "../ops/slots";
import type { Device } from "../tensor/device";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";

/** Packed states that may be on their way at once: one is copied while the next is packed. */
export const PACKED_ROWS = 2;

/** One of a cache's tensors: its rows in pinned memory, and those on the device where it is packed. */
interface Kept extends KeptTensor {
  readonly cache: number;
  readonly rows: Tensor;
  readonly packed: Packed | null;
}

interface Packed {
  /** f32 [slots, heads, columns], in pinned memory. */
  readonly scales: Tensor;
  /** On the device, of PACKED_ROWS: u8 like the state, and f32. */
  readonly codes: Tensor;
  readonly codeScales: Tensor;
}

/** The snapshots in host memory, and how a slot of the device's pools goes to one of them and back. */
export class HostSnapshots {
  private readonly kept: readonly Kept[];

  constructor(
    private readonly device: Device,
    { caches }: Model,
    slots: number,
    readonly dtype: HostDtype,
  ) {
    this.kept = caches.flatMap(({ kept }, cache) =>
      kept.map((each) => {
        const { shape, packs } = each;
        if (!packs || dtype === "auto") {
          return { ...each, cache, rows: device.pinnedTensor(each.dtype, [slots, ...shape]), packed: null };
        }
        const packed = {
          scales: device.pinnedTensor("f32", [slots, ...scalesOf(shape)]),
          codes: device.tensor("u8", [PACKED_ROWS, ...shape]),
          codeScales: device.tensor("f32", [PACKED_ROWS, ...scalesOf(shape)]),
        };
        return { ...each, cache, rows: device.pinnedTensor("u8", [slots, ...shape]), packed };
      }),
    );
  }

  /** Makes integers of a slot's states, in a row of those on the device. */
  pack(pools: Pools, slot: number, row: number): void {
    this.each(pools, (pool, { shape }, { codes, codeScales }) => {
      withRows([codes, row, shape], [codeScales, row, scalesOf(shape)], [pool, slot, shape], (codes, scales, state) =>
        packState(this.device.stream, { codes, scales, state }),
      );
    });
  }

  /** Makes states of them again. */
  unpack(pools: Pools, slot: number, row: number): void {
    this.each(pools, (pool, { shape }, { codes, codeScales }) => {
      withRows([codes, row, shape], [codeScales, row, scalesOf(shape)], [pool, slot, shape], (codes, scales, state) =>
        unpackState(this.device.stream, { state, codes, scales }),
      );
    });
  }

  /** Begins to copy a slot, or the row of what is packed, to a host slot or from there. */
  copy(pools: Pools, { slot, hostSlot, toHost }: Place, row: number): void {
    const { stream } = this.device;
    const copy = (kept: Tensor, pool: Tensor, at: number) =>
      toHost ? stream.transferRow(kept, hostSlot, pool, at) : stream.transferRow(pool, at, kept, hostSlot);
    for (const { name, cache, rows, packed } of this.kept) {
      if (packed === null) copy(rows, pools[cache]![name]!, slot);
      else {
        copy(rows, packed.codes, row);
        copy(packed.scales, packed.codeScales, row);
      }
    }
  }

  private each(pools: Pools, launch: (pool: Tensor, kept: Kept, packed: Packed) => void): void {
    for (const kept of this.kept) if (kept.packed !== null) launch(pools[kept.cache]![kept.name]!, kept, kept.packed);
  }
}

type Pools = readonly Readonly<Record<string, Tensor>>[];

/** A slot of the device's pools, and one in host memory. */
interface Place {
  readonly slot: number;
  readonly hostSlot: number;
  readonly toHost: boolean;
}

type Row = readonly [tensor: Tensor, row: number, shape: readonly number[]];

/** Rows of three tensors as tensors of their own. */
function withRows(a: Row, b: Row, c: Row, launch: (a: Tensor, b: Tensor, c: Tensor) => void): void {
  const views = [a, b, c].map(([tensor, row, shape]) => tensor.view({ shape, offset: row * elementsOf(shape) }));
  launch(views[0]!, views[1]!, views[2]!);
  for (const view of views) view.free();
}
