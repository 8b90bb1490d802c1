/** A pool of state slots in which every slot that a case does not fill holds NaNs. */
import type { Backend } from "../../helpers/backends";
import type { FloatDType, Words } from "../../helpers/bits";
import { decode } from "../../helpers/bits";
import { assertSameBits } from "../../helpers/close";
import type { Rng } from "../../helpers/rng";
import type { Placed } from "../../helpers/strided";

export interface PoolShape {
  readonly slots: number;
  readonly slot: readonly number[]; // shape of one slot
  readonly dtype: FloatDType;
  readonly pad: number; // elements between slots
}

export class StatePool {
  readonly placed: Placed;
  private readonly slotSize: number; // elements

  /** `contents`: by slot number. */
  constructor(
    backend: Backend,
    private readonly pool: PoolShape,
    contents: ReadonlyMap<number, ArrayLike<number>>,
  ) {
    this.slotSize = pool.slot.reduce((a, b) => a * b, 1);
    const values = new Float32Array(pool.slots * this.slotSize).fill(Number.NaN);
    for (const [slot, state] of contents) values.set(state, slot * this.slotSize);
    this.placed = backend.place(pool.dtype, [pool.slots, ...pool.slot], { values, rowPad: pool.pad });
  }

  /** The states of `used` slots; every other slot must be as it was, bit for bit. */
  async read(used: ReadonlySet<number>): Promise<Map<number, Float32Array>> {
    const after = await this.placed.words();
    const before = this.placed.initialWords();
    const states = new Map<number, Float32Array>();
    for (let slot = 0; slot < this.pool.slots; slot++) {
      const range = [slot * this.slotSize, (slot + 1) * this.slotSize] as const;
      if (used.has(slot)) states.set(slot, decode(this.pool.dtype, after.slice(...range) as Words) as Float32Array);
      else assertSameBits(`unused slot ${slot}`, after.slice(...range), before.slice(...range));
    }
    return states;
  }
}

/** Distinct slots for `count` rows, not in order; -1 for the rows in `padding`. */
export function chooseSlots(rng: Rng, count: number, slotsInPool: number, padding: readonly number[]): number[] {
  if (count - padding.length > slotsInPool) throw new Error(`${slotsInPool} slots are too few for ${count} rows`);
  const free = rng.permutation(slotsInPool);
  return Array.from({ length: count }, (_, row) => (padding.includes(row) ? -1 : free.pop()!));
}
