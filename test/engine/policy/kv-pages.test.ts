import fc from "fast-check";
import { KvPages, PAGE_SIZE } from "../../../src/engine/policy/kv-pages";
import { idleSequence } from "../../../src/engine/policy/padding";
import { CompositeMemory } from "../../../src/engine/policy/sequence-memory";
import { StateSlots } from "../../../src/engine/policy/state-slots";

test("a sequence gets a page for each PAGE_SIZE tokens, and no more when it asks for less", () => {
  const pages = new KvPages(4);
  const sequence = idleSequence(1);
  const sizes = [1, PAGE_SIZE, PAGE_SIZE + 1, 5, 3 * PAGE_SIZE].map((upTo) => {
    expect(pages.reserve(sequence, upTo)).toBe(true);
    return sequence.pages.length;
  });
  expect(sizes).toEqual([1, 1, 2, 2, 3]);
  expect(new Set(sequence.pages.slice()).size).toBe(3);
  pages.release(sequence);
  expect([pages.numUsed, sequence.pages.slice()]).toEqual([0, []]);
});

test("where there are too few it changes nothing", () => {
  const pages = new KvPages(2);
  const [first, second] = [idleSequence(1), idleSequence(1)];
  expect([pages.reserve(first, 1), pages.reserve(second, 2 * PAGE_SIZE)]).toEqual([true, false]);
  expect([pages.numUsed, second.pages.slice()]).toEqual([1, []]);
});

test("kept pages are asked for only as far as free ones are too few", () => {
  const pages = new KvPages(4);
  const [first, second] = [idleSequence(1), idleSequence(1)];
  pages.reserve(first, PAGE_SIZE);
  pages.keep(first.pages.at(0));
  pages.release(first);
  const asked: number[] = [];
  pages.reclaim = (numPages) => asked.push(numPages);
  expect([pages.reserve(second, 2 * PAGE_SIZE), pages.numIdle, asked]).toEqual([true, 1, []]);
  // Three more, and one is free.
  expect([pages.reserve(second, 5 * PAGE_SIZE), asked]).toEqual([false, [2]]);
});

test("a sequence that gets no pages gets no slot either, and one that cannot grow keeps what it has", () => {
  const [slots, pages] = [new StateSlots(2), new KvPages(2)];
  const memory = new CompositeMemory([slots, pages]);
  const [first, second] = [idleSequence(1), idleSequence(1)];
  expect(memory.reserve(first, 2 * PAGE_SIZE)).toBe(true);
  expect([memory.reserve(second, 1), second.slot, slots.numUsed]).toEqual([false, -1, 1]);
  expect([memory.reserve(first, 3 * PAGE_SIZE), first.slot, first.pages.length]).toEqual([false, 0, 2]);
  memory.release(first);
  expect([slots.numUsed, pages.numUsed]).toEqual([0, 0]);
});

test("no two sequences share a page, whatever the order of calls", () => {
  const calls = fc.array(fc.record({ which: fc.nat(4), upTo: fc.nat(6 * PAGE_SIZE), release: fc.boolean() }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), calls, (numPages, list) => {
      const pages = new KvPages(numPages);
      const sequences = Array.from({ length: 5 }, () => idleSequence(1));
      for (const { which, upTo, release } of list) {
        const sequence = sequences[which]!;
        if (release) pages.release(sequence);
        else if (pages.reserve(sequence, upTo)) expect(sequence.pages.length * PAGE_SIZE).toBeGreaterThanOrEqual(upTo);
        const held = sequences.flatMap((each) => each.pages.slice());
        expect([new Set(held).size, pages.numUsed]).toEqual([held.length, held.length]);
        expect(held.every((page) => page >= 0 && page < numPages)).toBe(true);
      }
    }),
  );
});
