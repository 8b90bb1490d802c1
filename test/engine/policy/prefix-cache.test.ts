import { KvPages, PAGE_SIZE } from "../../../src/engine/policy/kv-pages";
import { PrefixCache } from "../../../src/engine/policy/prefix-cache";
import { Sequence } from "../../../src/engine/policy/sequence";
import { CompositeMemory } from "../../../src/engine/policy/sequence-memory";
import { StateSlots } from "../../../src/engine/policy/state-slots";
import { makeRequest } from "../../helpers/engine-request";

const CHUNK = 64;
const MAX_SEQS = 4;

/** A cache, and sequences that are prefilled in one step each. */
class Prefills {
  readonly pages: KvPages;
  readonly cache: PrefixCache;
  private readonly memory: CompositeMemory;
  private count = 0;

  constructor({ numSnapshots = 8, numHostSnapshots = 0, numPages = 0 } = {}) {
    this.pages = new KvPages(numPages);
    this.cache = new PrefixCache(
      { maxNumSeqs: MAX_SEQS, numSnapshots, numHostSnapshots, chunkSize: CHUNK },
      this.pages,
    );
    const paged = numPages > 0 ? [this.pages] : [];
    this.memory = new CompositeMemory([this.cache, new StateSlots(MAX_SEQS), ...paged]);
  }

  admit(prompt: readonly number[], cacheSalt?: string): Sequence | null {
    const fields = { id: `${this.count++}`, prompt, ...(cacheSalt === undefined ? {} : { cacheSalt }) };
    const sequence = new Sequence(makeRequest(fields), this.count, 1 << 20);
    return this.memory.reserve(sequence, prompt.length) ? sequence : null;
  }

  /** One step of all that is left; returns the positions of its snapshots. */
  step(sequence: Sequence): number[] {
    const numTokens = sequence.numToGo;
    const row = { sequence, start: sequence.numScheduled, numTokens, draws: 1, draw: -1, drafts: [] };
    const prefix = this.cache.take(sequence, numTokens);
    this.cache.store([{ ...row, ...prefix }]);
    return prefix.snapshots.map(({ position }) => position / CHUNK);
  }

  /** How many chunks of the prompt were cached, and where it left snapshots. */
  run(prompt: readonly number[], cacheSalt?: string): { cached: number; left: number[] } {
    const sequence = this.admit(prompt, cacheSalt)!;
    const cached = sequence.numComputed / CHUNK;
    const left = this.step(sequence);
    this.memory.release(sequence);
    return { cached, left };
  }

  release(sequence: Sequence): void {
    this.memory.release(sequence);
  }
}

/** So many chunks of a document, and a few tokens more. */
const promptOf = (document: number, chunks: number, more = 5): number[] =>
  Array.from({ length: chunks * CHUNK + more }, (_, i) => document * 100_000 + i);

test("a prompt leaves its end, and guesses at powers of two where slots are free", () => {
  expect(new Prefills().run(promptOf(1, 9))).toEqual({ cached: 0, left: [1, 2, 4, 8, 9] });
  expect(new Prefills({ numSnapshots: 2 }).run(promptOf(1, 9))).toEqual({ cached: 0, left: [8, 9] });
  expect(new Prefills({ numSnapshots: 0 }).run(promptOf(1, 9))).toEqual({ cached: 0, left: [] });
  expect(new Prefills().run(promptOf(1, 0, CHUNK))).toEqual({ cached: 0, left: [] });
});

test.each([4, 5, 6, 7, 8, 9, 10])("a hit is at a chunk's end, %d tokens past which the prompt before ended", (more) => {
  const prefills = new Prefills();
  prefills.run(promptOf(1, 3, more));
  expect(prefills.run(promptOf(1, 3, more + 20))).toEqual({ cached: 3, left: [] });
});

test("where prompts part a state is kept at the second visit", () => {
  const prefills = new Prefills({ numSnapshots: 3 });
  const branch = (document: number) => [...promptOf(1, 7, 0), ...promptOf(document, 2)];
  prefills.run(promptOf(1, 9)); // 9, and guesses at 4 and 8
  expect(prefills.run(branch(2))).toEqual({ cached: 4, left: [7, 9] });
  expect(prefills.run(branch(3)).cached).toBe(7);
});

test("a use counts for the state that was copied, not for those on the way to it", () => {
  const prefills = new Prefills({ numSnapshots: 3 });
  for (const chunks of [1, 2]) prefills.run(promptOf(1, chunks));
  prefills.run(promptOf(2, 1));
  prefills.run(promptOf(1, 2, 9)); // uses the second, so the first is the oldest
  prefills.run(promptOf(3, 1));
  expect([prefills.run(promptOf(1, 2)).cached, prefills.run(promptOf(2, 1)).cached]).toEqual([2, 1]);
  expect(prefills.cache.tiers.numOnDevice).toBe(3);
});

test("prompts in turn, with fewer slots than they would leave: each is found again, and no slot is lost", () => {
  const prefills = new Prefills({ numSnapshots: 2 });
  for (let i = 0; i < 60; i++) {
    const { cached } = prefills.run(promptOf(i % 2, 3));
    expect({ i, cached }).toEqual({ i, cached: i < 2 ? 0 : 3 });
    expect(prefills.cache.tiers.numOnDevice).toBeLessThanOrEqual(2);
  }
});

describe("prompts that come together", () => {
  const waiting = (prompt: readonly number[], fields = {}) =>
    new Sequence(makeRequest({ prompt, ...fields }), 9, 1 << 20);

  test("one that begins like a running one waits for its state, and takes it", () => {
    const prefills = new Prefills();
    const first = prefills.admit(promptOf(1, 3))!;
    const second = waiting(promptOf(1, 3, 9));
    expect([prefills.cache.follows(second), prefills.cache.follows(second)]).toEqual([true, true]);
    prefills.step(first);
    expect(prefills.cache.follows(second)).toBe(false);
    expect(prefills.run(promptOf(1, 3, 9)).cached).toBe(3);
  });

  test("not where it is known already, shorter, another's by its salt, computed whole, or more urgent", () => {
    const prefills = new Prefills();
    prefills.admit(promptOf(1, 3), "a");
    const follows = (prompt: readonly number[], fields = {}) =>
      prefills.cache.follows(waiting(prompt, { cacheSalt: "a", ...fields }));
    expect(follows(promptOf(1, 3))).toBe(true);
    expect(follows(promptOf(1, 2))).toBe(false);
    expect(follows([...promptOf(1, 2, 0), ...promptOf(2, 1)])).toBe(false);
    expect(follows(promptOf(1, 3), { cacheSalt: "b" })).toBe(false);
    expect(follows(promptOf(1, 3), { promptLogprobs: 1 })).toBe(false);
    expect(follows(promptOf(1, 3), { priority: -1 })).toBe(false);
    prefills.run(promptOf(1, 3), "a");
    expect(follows(promptOf(1, 3))).toBe(false);
  });

  test("where the first one goes, or finds no slot for its state, the next one goes on", () => {
    const prefills = new Prefills({ numSnapshots: 0 });
    const first = prefills.admit(promptOf(1, 3))!;
    const second = waiting(promptOf(1, 3));
    expect(prefills.cache.follows(second)).toBe(true);
    prefills.release(first);
    expect(prefills.cache.follows(second)).toBe(false);
    const third = prefills.admit(promptOf(1, 3))!;
    expect(prefills.cache.follows(second)).toBe(true);
    expect(prefills.step(third)).toEqual([]);
    expect(prefills.cache.follows(second)).toBe(false);
  });
});

test("nobody waits for the state of a prompt that was cut at no chunk", () => {
  const prefills = new Prefills();
  const first = prefills.admit(promptOf(1, 3))!;
  const second = new Sequence(makeRequest({ prompt: promptOf(1, 3) }), 9, 1 << 20);
  expect(prefills.cache.follows(second)).toBe(true);
  prefills.cache.take(first, CHUNK + 7);
  first.numComputed = CHUNK + 7;
  prefills.cache.take(first, CHUNK);
  expect(prefills.cache.follows(second)).toBe(false);
});

describe("with a host tier", () => {
  /** All copies that are asked for, at once. */
  function copy(prefills: Prefills): number {
    const { tiers } = prefills.cache;
    const transfers = tiers.takeTransfers();
    for (const transfer of transfers) tiers.transferred(transfer, false);
    return transfers.length;
  }
  const waits = (prefills: Prefills, prompt: readonly number[]) =>
    prefills.cache.fetches(new Sequence(makeRequest({ prompt }), 0, 1 << 20));

  test("the oldest states go there before the last slots are taken, and come back for a prompt that waits", () => {
    const prefills = new Prefills({ numSnapshots: 4, numHostSnapshots: 8 });
    for (const document of [1, 2, 3, 4, 5, 6]) {
      prefills.run(promptOf(document, 1));
      copy(prefills);
    }
    const { tiers } = prefills.cache;
    expect([tiers.numOnDevice, tiers.numOnHost]).toEqual([2, 4]);
    expect(waits(prefills, promptOf(6, 1))).toBe(false);
    expect(waits(prefills, promptOf(7, 1))).toBe(false);
    expect([waits(prefills, promptOf(1, 1)), waits(prefills, promptOf(1, 1))]).toEqual([true, true]);
    expect(copy(prefills)).toBe(1);
    expect([waits(prefills, promptOf(1, 1)), prefills.run(promptOf(1, 1)).cached]).toEqual([false, 1]);
  });

  test("a state that was used while it was copied stays on the device too", () => {
    const prefills = new Prefills({ numSnapshots: 2, numHostSnapshots: 1 });
    for (const document of [1, 2]) prefills.run(promptOf(document, 1));
    expect(prefills.run(promptOf(1, 1)).cached).toBe(1);
    expect(copy(prefills)).toBe(1);
    const { tiers } = prefills.cache;
    expect([tiers.numOnDevice, tiers.numOnHost]).toEqual([2, 1]);
  });

  test("a copy that fails leaves the state where it was; one of a state that was dropped gives its slots back", () => {
    const prefills = new Prefills({ numSnapshots: 1, numHostSnapshots: 1 });
    prefills.run(promptOf(1, 1));
    const { tiers } = prefills.cache;
    for (const transfer of tiers.takeTransfers()) tiers.transferred(transfer, true);
    expect([tiers.numOnDevice, tiers.numOnHost, prefills.run(promptOf(1, 1)).cached]).toEqual([1, 0, 1]);
    tiers.clear();
    prefills.run(promptOf(2, 1));
    const begun = tiers.takeTransfers();
    tiers.clear();
    expect([tiers.numOnDevice, tiers.numOnHost]).toEqual([1, 1]);
    for (const transfer of begun) tiers.transferred(transfer, false);
    expect([tiers.numOnDevice, tiers.numOnHost]).toEqual([0, 0]);
    prefills.run(promptOf(3, 1));
    tiers.clear(); // before the copy has begun
    expect([tiers.numOnDevice, tiers.numOnHost, tiers.takeTransfers().length]).toEqual([0, 0, 0]);
  });
});

test("a sequence whose step failed leaves nothing in the steps that were launched after it", () => {
  const prefills = new Prefills();
  const { cache } = prefills;
  const sequence = prefills.admit(promptOf(1, 9))!;
  const launched = [4, 5].map((chunks) => {
    const [start, numTokens] = [sequence.numScheduled, chunks * CHUNK];
    const prefix = cache.take(sequence, numTokens);
    sequence.numInFlight += numTokens;
    return { sequence, start, numTokens, draws: 0, draw: -1, drafts: [], ...prefix };
  });
  expect(launched.map(({ snapshots }) => snapshots.map(({ position }) => position / CHUNK))).toEqual([
    [1, 2, 4],
    [8, 9],
  ]);
  cache.discard(launched.slice(0, 1));
  cache.store(launched.slice(1));
  expect([cache.isEmpty, cache.tiers.numOnDevice]).toEqual([true, 0]);
  prefills.release(sequence);
  expect(prefills.run(promptOf(1, 9))).toEqual({ cached: 0, left: [1, 2, 4, 8, 9] });
});

test("salts share nothing", () => {
  const prefills = new Prefills();
  prefills.run(promptOf(1, 2), "a");
  expect(["a", "b", undefined].map((salt) => prefills.run(promptOf(1, 2), salt).cached)).toEqual([2, 0, 0]);
});

test("after a cut that is at no chunk nothing is left behind", () => {
  const prefills = new Prefills();
  const sequence = prefills.admit(promptOf(1, 4))!;
  expect(prefills.cache.take(sequence, CHUNK + 7).snapshots.map(({ position }) => position)).toEqual([CHUNK]);
  sequence.numComputed = CHUNK + 7;
  expect(prefills.step(sequence)).toEqual([]);
});

describe("with pages", () => {
  test("sequences share those of their common beginning, and each has the rest for itself", () => {
    const prefills = new Prefills({ numPages: 20 });
    prefills.run(promptOf(1, 3));
    const [first, second] = [prefills.admit(promptOf(1, 3))!, prefills.admit(promptOf(1, 3))!];
    expect(first.pages.slice(0, 3)).toEqual(second.pages.slice(0, 3));
    expect(first.pages.at(3)).not.toBe(second.pages.at(3));
    expect([prefills.pages.numUsed, prefills.pages.numIdle]).toEqual([5, 0]);
    for (const sequence of [first, second]) prefills.release(sequence);
    expect([prefills.pages.numUsed, prefills.pages.numIdle]).toEqual([0, 3]);
  });

  test("kept pages go to a sequence that needs them, the deepest of the oldest prompt first", () => {
    const prefills = new Prefills({ numPages: 8 });
    prefills.run(promptOf(1, 3)); // keeps 3
    prefills.run(promptOf(2, 3)); // and 3 more; 2 are free
    const sequence = prefills.admit(promptOf(3, 0, 3 * PAGE_SIZE))!;
    expect(sequence.pages).toHaveLength(3);
    expect(prefills.run(promptOf(2, 3, 0)).cached).toBe(2);
    prefills.release(sequence);
    expect(prefills.run(promptOf(1, 3)).cached).toBeLessThan(3);
  });

  test("those that a sequence has are not taken, so a sequence that needs more than the others is refused", () => {
    const prefills = new Prefills({ numPages: 6 });
    const holder = prefills.admit(promptOf(1, 3))!; // 4 pages
    prefills.step(holder);
    expect(prefills.admit(promptOf(2, 2))).toBeNull();
    expect(prefills.admit(promptOf(2, 1))!.pages).toHaveLength(2);
    expect(prefills.cache.tiers.numOnDevice).toBeGreaterThan(0);
  });

  test("a sequence that was not admitted gives back what it was to share", () => {
    const prefills = new Prefills({ numPages: 6 });
    prefills.run(promptOf(1, 2));
    const refused = prefills.admit(promptOf(1, 9));
    expect([refused, prefills.pages.numUsed]).toEqual([null, 0]);
  });
});
