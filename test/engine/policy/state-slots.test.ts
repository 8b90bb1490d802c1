import fc from "fast-check";
import { NO_SLOT, StateSlots } from "../../../src/engine/policy/state-slots";

test("hands out every slot once, then -1", () => {
  const slots = new StateSlots(3);
  expect([slots.allocate(), slots.allocate(), slots.allocate(), slots.allocate()]).toEqual([0, 1, 2, NO_SLOT]);
  expect([slots.numFree, slots.numUsed]).toEqual([0, 3]);
});

test("hands out the slot that was given back last", () => {
  const slots = new StateSlots(4);
  for (let i = 0; i < 3; i++) slots.allocate();
  slots.giveBack(0);
  slots.giveBack(2);
  expect([slots.allocate(), slots.allocate(), slots.allocate()]).toEqual([2, 0, 3]);
});

test.each([
  ["a slot given back twice", 1],
  ["a slot never handed out", 2],
  ["the padding slot", NO_SLOT],
  ["a slot past the pool", 3],
])("refuses %s", (_, slot) => {
  const slots = new StateSlots(3);
  slots.allocate();
  slots.giveBack(slots.allocate());
  expect(() => slots.giveBack(slot)).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT", subject: "slot" }));
  expect(slots.numUsed).toBe(1);
});

test("is a set of free slots, whatever the order of calls", () => {
  const operations = fc.array(fc.oneof(fc.constant("allocate" as const), fc.nat(7)), { maxLength: 60 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), operations, (numSlots, list) => {
      const slots = new StateSlots(numSlots);
      const used = new Set<number>();
      for (const operation of list) {
        if (operation === "allocate") {
          const slot = slots.allocate();
          expect(slot === NO_SLOT).toBe(used.size === numSlots);
          if (slot === NO_SLOT) continue;
          expect(slot).toBeLessThan(numSlots);
          expect(used.has(slot)).toBe(false);
          used.add(slot);
        } else if (used.delete(operation)) slots.giveBack(operation);
        else expect(() => slots.giveBack(operation)).toThrow();
        expect([slots.numUsed, slots.numFree]).toEqual([used.size, numSlots - used.size]);
      }
    }),
    { numRuns: 200 },
  );
});
