import type { LoadedModel } from "./loaded-model";
import type { Transfer } from "./policy/snapshot-tiers";

/** Copies states between the device's pools and the host's, beside the steps. */
export class StateTransfers {
  constructor(private readonly target: Pick<LoadedModel, "device" | "pools" | "hostPools">) {}

  /** Begins them after what was launched so far; each promise settles with its copy. */
  begin(transfers: readonly Transfer[]): Promise<void>[] {
    const { stream } = this.target.device;
    if (transfers.length > 0) stream.orderTransfers();
    return transfers.map((transfer) => {
      this.copy(transfer);
      return stream.transferred();
    });
  }

  private copy({ slot, hostSlot, toHost }: Transfer): void {
    const { device, pools, hostPools = [] } = this.target;
    for (const [i, onHost] of hostPools.entries()) {
      for (const [name, kept] of Object.entries(onHost)) {
        const pool = pools[i]![name]!;
        if (toHost) device.stream.transferRow(kept, hostSlot, pool, slot);
        else device.stream.transferRow(pool, slot, kept, hostSlot);
      }
    }
  }
}
