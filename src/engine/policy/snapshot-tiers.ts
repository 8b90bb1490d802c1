import type { PrefixNode } from "./prefix-tree";
import { NO_SLOT, StateSlots } from "./state-slots";

/** A copy of a node's state between the device and the host; the policy only asks for it. */
export interface Transfer {
  readonly node: PrefixNode;
  /** Row of the state pools on the device. */
  readonly slot: number;
  /** Row of those on the host. */
  readonly hostSlot: number;
  readonly toHost: boolean;
}

interface Underway {
  readonly transfer: Transfer;
  /** The state was copied by a sequence meanwhile. */
  isUsed: boolean;
}

export interface TiersConfig {
  /** State slots of running sequences; those of snapshots come after them in the same pools. */
  readonly maxNumSeqs: number;
  readonly numSnapshots: number;
  /** On the host. */
  readonly numHostSnapshots?: number;
}

/**
 * Share of the device's slots that are kept free by moving states to the host ahead, so that none waits for a copy; and the least,
 * where there are twice as many: one for the prompt that comes while a copy runs.
 */
const AHEAD = 1 / 8;
const LEAST_AHEAD = 2;

/**
 * Where the states of prefixes are: in slots of the device, on the host, or in both, for a state never changes. Each tier has
 * an order of its own, the least recently used first. What the device's slots hold moves to the host before the last are
 * taken; what the host holds is copied to the device when a sequence wants it. While it is copied it counts as where it comes
 * from, and is not evicted. A node that no tier has is told to `dropped`.
 */
export class SnapshotTiers {
  private readonly slots: StateSlots;
  private readonly hostSlots: StateSlots;
  private readonly firstSlot: number;
  /** Nodes with states on the device; guesses go first. */
  private readonly guesses = new Set<PrefixNode>();
  private readonly used = new Set<PrefixNode>();
  private readonly hosted = new Set<PrefixNode>();
  private readonly underway = new Map<PrefixNode, Underway>();
  private asked: Transfer[] = [];

  constructor(
    { maxNumSeqs, numSnapshots, numHostSnapshots = 0 }: TiersConfig,
    private readonly dropped: (node: PrefixNode) => void,
  ) {
    this.slots = new StateSlots(numSnapshots);
    this.hostSlots = new StateSlots(numHostSnapshots);
    this.firstSlot = maxNumSeqs;
  }

  /** Those that are being taken or copied among them. */
  get numOnDevice(): number {
    return this.slots.numUsed;
  }

  get capacity(): number {
    return this.slots.numSlots;
  }

  get numOnHost(): number {
    return this.hostSlots.numUsed;
  }

  get hostCapacity(): number {
    return this.hostSlots.numSlots;
  }

  /** A slot for a new state, if need be that of another one; -1 where there is none. */
  allocate(isGuess: boolean): number {
    if (this.slots.numFree === 0 && !isGuess) {
      const victim = this.idle(this.guesses) ?? this.idle(this.used, onHost) ?? this.idle(this.used);
      if (victim !== undefined) this.leaveDevice(victim);
    }
    const slot = this.slots.allocate();
    return slot === NO_SLOT ? NO_SLOT : this.firstSlot + slot;
  }

  giveBack(slot: number): void {
    this.slots.giveBack(slot - this.firstSlot);
  }

  /** The node has a state now, in a slot of allocate(). */
  put(node: PrefixNode, slot: number, isGuess: boolean): void {
    node.slot = slot;
    (isGuess ? this.guesses : this.used).add(node);
    this.moveAhead();
  }

  /** A sequence copies the node's state from the device. */
  use(node: PrefixNode): void {
    this.guesses.delete(node);
    this.used.delete(node);
    this.used.add(node);
    if (this.hosted.delete(node)) this.hosted.add(node);
    const underway = this.underway.get(node);
    if (underway !== undefined) underway.isUsed = true;
  }

  isUnderway(node: PrefixNode): boolean {
    return this.underway.has(node);
  }

  /** Begins to copy a node's state from the host to the device; false where no slot is to be had. */
  fetch(node: PrefixNode): boolean {
    const slot = this.allocate(false);
    if (slot === NO_SLOT || node.hostSlot === NO_SLOT) {
      if (slot !== NO_SLOT) this.giveBack(slot);
      return false;
    }
    this.begin({ node, slot, hostSlot: node.hostSlot, toHost: false });
    return true;
  }

  /** The least recently used node that `suits`, guesses and the host's first. */
  oldest(suits: (node: PrefixNode) => boolean): PrefixNode | undefined {
    for (const nodes of [this.guesses, this.hosted, this.used]) {
      for (const node of nodes) if (!this.underway.has(node) && suits(node)) return node;
    }
    return undefined;
  }

  /** Forgets a node's states. */
  drop(node: PrefixNode): void {
    const transfer = this.underway.get(node)?.transfer;
    this.underway.delete(node);
    this.guesses.delete(node);
    this.used.delete(node);
    this.hosted.delete(node);
    const asked = transfer === undefined ? -1 : this.asked.indexOf(transfer);
    if (asked >= 0) this.asked.splice(asked, 1);
    // Slots of a copy that has begun come back with its end.
    if (transfer === undefined || asked >= 0) {
      const [slot, hostSlot] = [transfer?.slot ?? node.slot, transfer?.hostSlot ?? node.hostSlot];
      if (slot !== NO_SLOT) this.giveBack(slot);
      if (hostSlot !== NO_SLOT) this.hostSlots.giveBack(hostSlot);
    }
    node.slot = NO_SLOT;
    node.hostSlot = NO_SLOT;
    this.dropped(node);
  }

  clear(): void {
    for (const node of new Set([...this.guesses, ...this.used, ...this.hosted])) this.drop(node);
  }

  /** Copies that are to begin now, after what the device was given so far. */
  takeTransfers(): Transfer[] {
    return this.asked.splice(0);
  }

  /** A copy has ended; `failed`: nobody knows what it has written. */
  transferred(transfer: Transfer, failed: boolean): void {
    const { node, slot, hostSlot, toHost } = transfer;
    const underway = this.underway.get(node);
    if (underway?.transfer !== transfer) {
      this.giveBack(slot); // the node was dropped meanwhile
      this.hostSlots.giveBack(hostSlot);
      return;
    }
    this.underway.delete(node);
    if (failed) {
      if (toHost) this.hostSlots.giveBack(hostSlot);
      else this.giveBack(slot);
    } else if (toHost) {
      node.hostSlot = hostSlot;
      this.hosted.add(node);
      if (!underway.isUsed) this.leaveDevice(node);
    } else {
      node.slot = slot;
      this.use(node);
    }
  }

  private begin(transfer: Transfer): void {
    this.underway.set(transfer.node, { transfer, isUsed: false });
    this.asked.push(transfer);
  }

  /** Moves the oldest states to the host until enough slots are free, or will be. Guesses' slots are as good as free. */
  private moveAhead(): void {
    if (this.hostSlots.numSlots === 0) return;
    let leaving = 0;
    for (const { transfer } of this.underway.values()) if (transfer.toHost) leaving += 1;
    const { numSlots } = this.slots;
    const wanted = Math.max(Math.min(LEAST_AHEAD, Math.floor(numSlots / 2)), Math.ceil(numSlots * AHEAD));
    for (const node of [...this.used]) {
      if (this.slots.numFree + this.guesses.size + leaving >= wanted) return;
      if (this.underway.has(node) || node.slot === NO_SLOT) continue;
      if (node.hostSlot !== NO_SLOT) {
        this.leaveDevice(node);
        continue;
      }
      const hostSlot = this.allocateOnHost();
      if (hostSlot === NO_SLOT) return;
      this.begin({ node, slot: node.slot, hostSlot, toHost: true });
      leaving += 1;
    }
  }

  private allocateOnHost(): number {
    const victim = this.hostSlots.numFree === 0 ? this.idle(this.hosted) : undefined;
    if (victim !== undefined) this.leaveHost(victim);
    return this.hostSlots.allocate();
  }

  private leaveDevice(node: PrefixNode): void {
    this.guesses.delete(node);
    this.used.delete(node);
    this.giveBack(node.slot);
    node.slot = NO_SLOT;
    if (node.hostSlot === NO_SLOT) this.dropped(node);
  }

  private leaveHost(node: PrefixNode): void {
    this.hosted.delete(node);
    this.hostSlots.giveBack(node.hostSlot);
    node.hostSlot = NO_SLOT;
    if (node.slot === NO_SLOT) this.dropped(node);
  }

  private idle(nodes: ReadonlySet<PrefixNode>, suits = anyNode): PrefixNode | undefined {
    for (const node of nodes) if (!this.underway.has(node) && suits(node)) return node;
    return undefined;
  }
}

const anyNode = (_: PrefixNode): boolean => true;
const onHost = ({ hostSlot }: PrefixNode): boolean => hostSlot !== NO_SLOT;
