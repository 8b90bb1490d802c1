import type { PrefixNode } from "../../../src/engine/policy/prefix-tree";
import { PrefixTree } from "../../../src/engine/policy/prefix-tree";
import { SnapshotTiers } from "../../../src/engine/policy/snapshot-tiers";

const MAX_SEQS = 3;

/** Tiers, and states that are put into them. */
class States {
  readonly dropped: PrefixNode[] = [];
  readonly tiers: SnapshotTiers;
  private readonly tree = new PrefixTree(1);
  private count = 0;

  constructor(numSnapshots: number, numHostSnapshots = 0) {
    this.tiers = new SnapshotTiers({ maxNumSeqs: MAX_SEQS, numSnapshots, numHostSnapshots }, (node) =>
      this.dropped.push(node),
    );
  }

  /** Puts the state of a new prefix; null where there is no slot for it. */
  put(isGuess = false): PrefixNode | null {
    const slot = this.tiers.allocate(isGuess);
    if (slot < 0) return null;
    const [node] = this.tree.grow("", [this.count++], 1) as [PrefixNode];
    this.tiers.put(node, slot, isGuess);
    return node;
  }

  /** Ends all copies that are asked for; gives their number. */
  copy(): number {
    const transfers = this.tiers.takeTransfers();
    for (const transfer of transfers) this.tiers.transferred(transfer, false);
    return transfers.length;
  }
}

test("slots come after those of sequences, and each is handed out once", () => {
  const states = new States(3);
  const slots = [states.put()!, states.put()!, states.put()!].map(({ slot }) => slot);
  expect(slots.sort()).toEqual([3, 4, 5]);
  expect([states.tiers.numOnDevice, states.tiers.capacity]).toEqual([3, 3]);
});

test("a slot is taken from a guess, then from the state that was used least recently; a guess takes none", () => {
  const states = new States(3);
  const [first, guess, second] = [states.put()!, states.put(true)!, states.put()!];
  states.tiers.use(first);
  expect(states.put(true)).toBeNull();
  const third = states.put()!;
  expect(states.dropped).toEqual([guess]);
  states.put();
  expect(states.dropped).toEqual([guess, second]);
  expect([first.slot, second.slot, third.slot].map((slot) => slot >= 0)).toEqual([true, false, true]);
});

test("a slot is taken from a state that the host has too before one that nobody else has", () => {
  const states = new States(2, 2);
  const [first, second] = [states.put()!, states.put()!];
  // The older one is copied to the host, comes back, and is the newer one.
  expect([states.copy(), first.slot, first.hostSlot >= 0]).toEqual([1, -1, true]);
  expect(states.tiers.fetch(first)).toBe(true);
  states.copy();
  states.tiers.use(second);
  states.tiers.use(first);
  states.put();
  expect([states.dropped, first.slot, second.slot >= 0]).toEqual([[], -1, true]);
});

test.each([
  [2, 1],
  [4, 2],
  [16, 2],
  [17, 3],
  [64, 8],
])("of %d slots %d are kept free, as far as the host has room", (numSnapshots, free) => {
  const states = new States(numSnapshots, 100);
  for (let i = 0; i < 2 * numSnapshots; i++) {
    states.put();
    states.copy();
  }
  expect(states.tiers.capacity - states.tiers.numOnDevice).toBe(free);
  expect(states.tiers.numOnHost).toBe(numSnapshots + free);
  const full = new States(numSnapshots, 1);
  for (let i = 0; i < 2 * numSnapshots; i++) full.put();
  expect(full.tiers.numOnDevice).toBe(numSnapshots);
});

test("guesses' slots are as good as free: nothing moves to the host for them", () => {
  const states = new States(4, 4);
  for (const isGuess of [false, false, true, true]) states.put(isGuess);
  expect(states.copy()).toBe(0);
});
