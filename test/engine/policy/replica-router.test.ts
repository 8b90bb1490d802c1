import { type Replica, ReplicaRouter } from "../../../src/engine/policy/replica-router";
import { Rng } from "../../helpers/rng";

const blockSize = 4;
const idle: Replica = { isReady: true, backlog: 0 };
const busy = (backlog: number): Replica => ({ isReady: true, backlog });
const down: Replica = { isReady: false, backlog: 0 };
const range = (start: number, length: number) => Array.from({ length }, (_, i) => start + i);

let router: ReplicaRouter;
/** Index of the replica. */
const chosen = (...args: Parameters<ReplicaRouter["choose"]>) => router.choose(...args)?.replica ?? -1;
beforeEach(() => {
  router = new ReplicaRouter({ blockSize, maxBlocks: 1000 });
});

test("the one with the least work, of equals the first, and none where none is ready", () => {
  expect(chosen(range(0, 9), "", [idle, idle])).toBe(0);
  expect(chosen(range(50, 9), "", [busy(1), idle, busy(2)])).toBe(1);
  expect(chosen(range(90, 9), "", [down, busy(100)])).toBe(1);
  expect(chosen([1, 2], "", [down, down])).toBe(-1);
});

test("a prompt goes where one that begins alike went, unless that one has more to do than the beginning is worth", () => {
  expect(chosen(range(0, 9), "", [busy(1), idle])).toBe(1);
  // Two whole blocks, 8 tokens, are known there.
  expect(chosen([...range(0, 8), 77, 78], "", [idle, busy(7)])).toBe(1);
  expect(chosen([...range(0, 8), 77, 78], "", [idle, busy(9)])).toBe(0);
  // Now both know it.
  expect(chosen([...range(0, 8), 77, 78], "", [idle, busy(1)])).toBe(0);
});

test.each([
  ["another salt", range(0, 9), "tenant"],
  ["a difference in the first block", [9, ...range(1, 8)], ""],
  ["less than a block", range(0, 4), ""],
])("%s is not known", (_, prompt, salt) => {
  router.choose(range(0, 9), "", [busy(1), idle]);
  expect(chosen(prompt, salt, [idle, busy(1)])).toBe(0);
});

test("what a replica knew is forgotten with it", () => {
  router.choose(range(0, 9), "", [busy(1), idle]);
  router.forget(1);
  expect(chosen(range(0, 9), "", [idle, busy(1)])).toBe(0);
});

test("the blocks that came up last are remembered", () => {
  router = new ReplicaRouter({ blockSize, maxBlocks: 4 });
  router.choose(range(0, 9), "", [busy(1), idle]);
  router.choose(range(100, 9), "", [busy(1), idle]);
  router.choose(range(0, 9), "", [busy(1), idle]); // used again
  router.choose(range(200, 9), "", [busy(1), idle]);
  expect(chosen(range(0, 9), "", [idle, busy(1)])).toBe(1);
  expect(chosen(range(100, 9), "", [idle, busy(1)])).toBe(0);
});

test("random traffic of prompts that begin alike: almost all is found, and the work is spread", () => {
  const rng = new Rng(7);
  const groups = Array.from({ length: 24 }, (_, g) => range(1000 * g, 64));
  const seen = [0, 1, 2].map(() => new Set<number>());
  const backlog = [0, 0, 0];
  const sent = [0, 0, 0];
  let [hits, possible] = [0, 0];
  const before = new Set<number>();
  for (let i = 0; i < 2000; i++) {
    const g = rng.integer(0, groups.length - 1);
    const prompt = [...groups[g]!, 9_000_000 + i, 1];
    const { replica: at, work } = router.choose(prompt, "", backlog.map(busy))!;
    if (before.has(g)) possible += 1;
    if (seen[at]!.has(g)) hits += 1;
    before.add(g);
    sent[at]! += 1;
    expect(work).toBe(seen[at]!.has(g) ? 2 : 66);
    backlog[at]! += work;
    seen[at]!.add(g);
    for (let r = 0; r < 3; r++) backlog[r] = Math.max(0, backlog[r]! - 2);
  }
  expect(hits / possible).toBeGreaterThan(0.95);
  expect(Math.min(...sent)).toBeGreaterThan(2000 / 3 / 2);
});
