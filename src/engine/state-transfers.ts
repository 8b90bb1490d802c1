import { PACKED_ROWS } from "./host-snapshots";
import type { LoadedModel } from "./loaded-model";
import type { Transfer } from "./policy/snapshot-tiers";

/** Copies states between the device's pools and the host's, beside the steps. */
export class StateTransfers {
  /** Rows for packed states that are free, and who waits for one. */
  private readonly rows = Array.from({ length: PACKED_ROWS }, (_, row) => row);
  private readonly waiting: ((row: number) => void)[] = [];

  constructor(private readonly target: Pick<LoadedModel, "device" | "pools" | "host">) {}

  /** Begins them after what was launched so far; each promise settles with its copy. */
  begin(transfers: readonly Transfer[]): Promise<void>[] {
    const { stream } = this.target.device;
    if (this.target.host?.dtype === "int8") return transfers.map((transfer) => this.packed(transfer));
    if (transfers.length > 0) stream.orderTransfers();
    return transfers.map((transfer) => {
      this.target.host!.copy(this.target.pools, transfer, 0);
      return stream.transferred();
    });
  }

  /** Packed on the device, or unpacked there, in a row that is the transfer's own until then. */
  private async packed(transfer: Transfer): Promise<void> {
    const { pools, host, device } = this.target;
    const row = this.rows.pop() ?? (await new Promise<number>((resolve) => this.waiting.push(resolve)));
    try {
      if (transfer.toHost) host!.pack(pools, transfer.slot, row);
      device.stream.orderTransfers();
      host!.copy(pools, transfer, row);
      await device.stream.transferred();
      if (!transfer.toHost) host!.unpack(pools, transfer.slot, row);
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.rows.push(row);
      else next(row);
    }
  }
}
